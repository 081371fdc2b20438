//! bench spike
use aya::{
    EbpfLoader,
    maps::{
        Array, MapData,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{TestRun, TestRunOptions, Xdp},
};
use filter_common::lookup::*;
use std::time::Duration;
use weir::prefix::Address;
use weir::ruleset::table::HostTables;
fn rng(s: &mut u64) -> u64 {
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    *s
}
fn main() {
    let take: usize = std::env::args().nth(1).map_or(usize::MAX, |n| n.parse().unwrap());
    let mut r4 = vec![];
    let mut r6 = vec![];
    for f in ["/tmp/data/v4.csv", "/tmp/data/v6.csv"] {
        for line in std::fs::read_to_string(f).unwrap().lines() {
            let mut p = line.split(',');
            let a = p.next().unwrap();
            let b = p.next().unwrap();
            let asn: u32 = p.next().unwrap().parse().unwrap();
            if let (Ok(a), Ok(b)) = (a.parse::<std::net::Ipv4Addr>(), b.parse::<std::net::Ipv4Addr>()) {
                for n in u32::cidrs(a.into(), b.into()) {
                    let ipnet::IpNet::V4(n) = n else { panic!() };
                    r4.push((u32::from(n.network()), u32::from(n.broadcast()), n.prefix_len(), asn & 0x3fffff));
                }
            } else {
                let (a, b): (u128, u128) =
                    (a.parse::<std::net::Ipv6Addr>().unwrap().into(), b.parse::<std::net::Ipv6Addr>().unwrap().into());
                for n in u128::cidrs(a, b) {
                    let ipnet::IpNet::V6(n) = n else { panic!() };
                    r6.push((u128::from(n.network()), u128::from(n.broadcast()), n.prefix_len(), asn & 0x3fffff));
                }
            }
        }
    }
    let mut seed = 88172645463325252u64;
    fn pick<T>(v: &mut Vec<T>, n: usize, seed: &mut u64) {
        if n >= v.len() {
            return;
        }
        for i in 0..n {
            let j = i + (rng(seed) as usize) % (v.len() - i);
            v.swap(i, j);
        }
        v.truncate(n);
    }
    pick(&mut r4, take, &mut seed);
    pick(&mut r6, take, &mut seed);
    r4.sort();
    r6.sort();
    r4.dedup_by(|a, b| a.0 <= b.1);
    r6.dedup_by(|a, b| a.0 <= b.1);
    println!("v4 {} v6 {}", r4.len(), r6.len());
    fn bounds<A: Address + Default>(r: &[(A, A, u8, u32)]) -> Vec<(A, u32)> {
        let mut v = vec![(A::default(), 0)];
        for &(a, b, _, s) in r {
            let l = v.last_mut().unwrap();
            if l.0 == a {
                l.1 = s
            } else {
                v.push((a, s))
            }
            if let Some(n) = b.next() {
                v.push((n, 0));
            }
        }
        v.dedup_by(|a, b| a.1 == b.1);
        v
    }
    let t = HostTables::build(&bounds(&r4), &bounds(&r6)).unwrap();
    println!("v4 {} v6 {} bytes", t.v4.bytes(), t.v6.bytes());
    const N: usize = 1 << 20;
    let hit4: Vec<u32> = (0..N)
        .map(|_| {
            let p = r4[rng(&mut seed) as usize % r4.len()];
            p.0 + (rng(&mut seed) % (u64::from(p.1 - p.0) + 1)) as u32
        })
        .collect();
    let miss4: Vec<u32> = (0..N).map(|_| rng(&mut seed) as u32).collect();
    let hit6: Vec<[u64; 2]> = (0..N)
        .map(|_| {
            let p = r6[rng(&mut seed) as usize % r6.len()];
            let x = (u128::from(rng(&mut seed)) << 64 | u128::from(rng(&mut seed))) & (p.1 - p.0);
            let a = p.0 + x;
            [(a >> 64) as u64, a as u64]
        })
        .collect();
    let miss6: Vec<[u64; 2]> = (0..N).map(|_| [0x2000_0000_0000_0000 | rng(&mut seed) >> 3, rng(&mut seed)]).collect();
    let obj = std::fs::read("/tmp/target-me/bpfel-unknown-none/release/weir-bench").unwrap();
    let mut e = EbpfLoader::new()
        .btf(None)
        .map_max_entries("LEAVES4", t.v4.blocks.len().max(1) as u32)
        .map_max_entries("LEAVES6", t.v6.blocks.len().max(1) as u32)
        .map_max_entries("KEYS4", (N / 64) as u32)
        .map_max_entries("KEYS6", (N / 64) as u32)
        .map_max_entries("LPM4", r4.len() as u32)
        .map_max_entries("LPM6", r6.len() as u32)
        .load(&obj)
        .unwrap();
    let mut lpm4 = LpmTrie::<_, [u8; 4], u32>::try_from(e.take_map("LPM4").unwrap()).unwrap();
    for p in &r4 {
        lpm4.insert(&Key::new(p.2.into(), p.0.to_be_bytes()), p.3, 0).unwrap();
    }
    let mut lpm6 = LpmTrie::<_, [u8; 16], u32>::try_from(e.take_map("LPM6").unwrap()).unwrap();
    for p in &r6 {
        lpm6.insert(&Key::new(p.2.into(), p.0.to_be_bytes()), p.3, 0).unwrap();
    }
    fn arr<V: aya::Pod>(e: &mut aya::Ebpf, n: &str) -> Array<MapData, V> {
        Array::try_from(e.take_map(n).unwrap()).unwrap()
    }
    use std::mem::ManuallyDrop as MD;
    MD::new(arr::<Root>(&mut e, "ROOT4")).set(0, &*t.v4.root, 0).unwrap();
    MD::new(arr::<Root>(&mut e, "ROOT6")).set(0, &*t.v6.root, 0).unwrap();
    let mut a = MD::new(arr::<Block4>(&mut e, "LEAVES4"));
    for (i, b) in t.v4.blocks.iter().enumerate() {
        a.set(i as u32, &**b, 0).unwrap();
    }
    let mut a = MD::new(arr::<Block6>(&mut e, "LEAVES6"));
    for (i, b) in t.v6.blocks.iter().enumerate() {
        a.set(i as u32, &**b, 0).unwrap();
    }
    let mut k4 = arr::<[u32; 64]>(&mut e, "KEYS4");
    let mut k6 = arr::<[u64; 128]>(&mut e, "KEYS6");
    let mut st = arr::<[u64; 2]>(&mut e, "STATE");
    let names = ["null4", "weir4", "lpm4", "null6", "weir6", "lpm6"];
    for n in names {
        let p: &mut Xdp = e.program_mut(n).unwrap().try_into().unwrap();
        let t = std::time::Instant::now();
        p.load()
            .map_err(|e| {
                let s = format!("{e}");
                s[s.len().saturating_sub(1500)..].to_string()
            })
            .unwrap();
        print!("{n} {:?} ", t.elapsed());
    }
    println!();
    for (mix, k4v, k6v) in [("hit", &hit4, &hit6), ("miss", &miss4, &miss6)] {
        for (i, c) in k4v.chunks(64).enumerate() {
            k4.set(i as u32, <[u32; 64]>::try_from(c).unwrap(), 0).unwrap();
        }
        for (i, c) in k6v.chunks(64).enumerate() {
            k6.set(i as u32, <[u64; 128]>::try_from(c.concat()).unwrap(), 0).unwrap();
        }
        let mut times = vec![vec![]; 6];
        let mut sums = [0u64; 6];
        for _ in 0..9 {
            for (n, name) in names.iter().enumerate() {
                st.set(0, [0u64, 0], 0).unwrap();
                let p: &mut Xdp = e.program_mut(name).unwrap().try_into().unwrap();
                let r = p
                    .test_run(TestRunOptions {
                        data_in: Some(&[0u8; 64]),
                        repeat: (N / 64) as u32,
                        ..Default::default()
                    })
                    .unwrap();
                times[n].push(r.duration);
                sums[n] = st.get(&0, 0).unwrap()[1];
            }
        }
        let m: Vec<f64> = times
            .iter_mut()
            .map(|t| {
                t.sort();
                t[t.len() / 2].as_nanos() as f64 / 256.0
            })
            .collect();
        println!(
            "{mix}: v4 null {:.1} weir {:.1} lpm {:.1} ratio {:.1} | v6 null {:.1} weir {:.1} lpm {:.1} ratio {:.1}  sums ok {} {}",
            m[0],
            m[1] - m[0],
            m[2] - m[0],
            (m[2] - m[0]) / (m[1] - m[0]),
            m[3],
            m[4] - m[3],
            m[5] - m[3],
            (m[5] - m[3]) / (m[4] - m[3]),
            sums[1] == sums[2],
            sums[4] == sums[5]
        );
    }
    let _ = Duration::ZERO;
}
