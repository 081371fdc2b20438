//! What weir kept on disk and reads again: copies of sources, the chain of reports and their signatures, the books, the state
//! that survives a restart.
//!
//! Input: a byte for which of these (`run`). Texts are taken as they are, a copy's checksum is put right; a signature is changed
//! by three bytes for each change (which of its files, where, to what); for the books see `books`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use filter_common::decide::Direction;
use weir::controller::{ConfigText, Saved};
use weir::ledger::{Hook, Ledger, Names, Reading};
use weir::prefix::{Address, Listed};
use weir::ruleset::{RuleAction, RuleDirection, RuleIdentity, Sets};
use weir::seal::{Chain, Mark, SealError, Signer, verify};
use weir::source::Content;
use weir::source::copy::{Copy, checksum};
use weir::tally::{Key, Tally};

use crate::bytes::Bytes;
use crate::decide::identity;
use crate::judge;

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    match bytes.byte() % 6 {
        0 => copy(bytes.rest()),
        1 => chain(bytes.rest()),
        2 => signature(&mut bytes),
        3 => saved(bytes.rest()),
        4 => sets(bytes.rest()),
        _ => books(&mut bytes),
    }
}

/// A copy that can be read is written as it was read, and renewed by what it says it is the same, as old as it was.
fn copy(body: &[u8]) {
    let mut text = body.to_vec();
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend(format!("sha256 {}\n", checksum(&text)).bytes());
    let copy = match Copy::decode(&text) {
        Ok(copy) => copy,
        Err(refused) => return drop(judge::line(refused)),
    };
    let written = copy.encode();
    assert_eq!(Copy::decode(written.as_bytes()), Ok(copy.clone()), "{written:?}");
    for byte in [0, written.len() / 2, written.len().saturating_sub(80)] {
        let mut damaged = written.clone().into_bytes();
        damaged[byte] ^= 1;
        assert!(Copy::decode(&damaged).is_err(), "byte {byte} of {written:?} does not matter");
    }
    let now = 1 << 40;
    let again = Copy::renew(Some(&copy), Content::from(copy.clone()), copy.provenance.clone(), now);
    assert!(again.lists_the_same(&copy) && again.ranges() == copy.ranges());
    let times = |copy: &Copy| copy.batches.iter().map(|batch| batch.since).collect::<Vec<_>>();
    assert!(times(&again).iter().all(|time| *time == now || times(&copy).contains(time)), "a time from nowhere");
    // Where no range overlaps another one of its AS, none becomes younger.
    if apart(&copy) {
        assert!(!times(&again).contains(&now) || times(&copy).contains(&now), "{written}");
    }
}

fn apart(copy: &Copy) -> bool {
    fn of<'a, A: Address>(ranges: impl Iterator<Item = (i64, &'a Listed<A>)>) -> bool {
        let mut ranges: Vec<_> = ranges.map(|(_, range)| (range.asn, range.first, range.last)).collect();
        ranges.sort_unstable();
        ranges.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 < pair[1].1)
    }
    of(copy.v4()) && of(copy.v6())
}

/// A chain that can be read is written as it was read; every link of it is in its place, and a next one follows.
fn chain(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut chain = match Chain::parse(text) {
        Ok(chain) => chain,
        Err(refused) => return assert!(!refused.to_string().is_empty()),
    };
    assert_eq!(Chain::parse(&chain.text()), Ok(chain.clone()));
    let links: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (at, link) in links.iter().enumerate() {
        let before = at.checked_sub(1).map_or(&serde_json::Value::Null, |before| &links[before]["sha256"]);
        assert_eq!((link["serial"].as_u64(), &link["previous"]), (Some(at as u64 + 1), before));
    }
    let next = chain.next("router");
    assert_eq!(next.serial, text.lines().count() as u64 + 1);
    chain.push(&next, 5, "ab".repeat(32));
    assert_eq!(chain.check(&next, &"ab".repeat(32)), Ok(()));
    let read = Chain::parse(&chain.text());
    assert_eq!(read.as_ref(), Ok(&chain));
    let missing = Mark { serial: next.serial + 1, ..next.clone() };
    assert!(matches!(chain.check(&missing, "x"), Err(SealError::Missing { .. })));
    // Without its first line it is no chain.
    let text = chain.text();
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    assert!(rest.is_empty() || Chain::parse(rest).is_err(), "{rest}");
}

/// A report with its signature and the key that checks it.
struct Sealed {
    files: [Vec<u8>; 3],
    mark: Mark,
}

static SEALED: LazyLock<Sealed> = LazyLock::new(|| {
    let (signer, _) = Signer::generate().unwrap();
    let (report, mark) =
        (b"{\"host\":\"router\"}\n".to_vec(), Mark { serial: 7, previous: None, host: "router".into() });
    let signature = signer.sign(&report, &mark).unwrap().into_bytes();
    Sealed { files: [report, signature, signer.public().unwrap().into_bytes()], mark }
});

/// However the files are changed: what is accepted is the report that was signed, and says of itself what it said.
fn signature(bytes: &mut Bytes<'_>) {
    let mut files = SEALED.files.clone();
    while !bytes.is_empty() {
        let (file, place, value) = (bytes.below(4), usize::from(bytes.u16()), bytes.byte());
        match files.get_mut(file) {
            Some(file) if !file.is_empty() => {
                let place = place % file.len();
                file[place] = value;
            }
            // The fourth file is a cut of one of them.
            _ => files[usize::from(value) % 3].truncate(place),
        }
    }
    let [report, signature, public] = &files;
    let text = |file: &[u8]| String::from_utf8_lossy(file).into_owned();
    match verify(report, &text(signature), &text(public)) {
        Ok(mark) => assert!(*report == SEALED.files[0] && mark == SEALED.mark, "{mark:?}"),
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
}

/// What survives a restart.
fn saved(text: &[u8]) {
    let Ok(saved) = serde_json::from_slice::<Saved>(text) else { return };
    let again = serde_json::to_vec_pretty(&saved).unwrap();
    assert_eq!(serde_json::from_slice::<Saved>(&again).unwrap(), saved);
    let file = ConfigText { path: "weir.toml".into(), text: "a".into() };
    for now in [i64::MIN, 0, 1_767_614_400, i64::MAX] {
        let _ = saved.start(Some(&file), now);
        if let Some(config) = &saved.config {
            let _ = saved.start(Some(config), now);
        }
    }
}

/// The sets that a daemon wrote down beside its pins.
fn sets(text: &[u8]) {
    let Ok(exported) = serde_json::from_slice::<Vec<Vec<RuleIdentity>>>(text) else { return };
    let Some(sets) = Sets::restore(&exported) else { return };
    let again = sets.export();
    assert_eq!(again.len(), exported.len().max(1));
    assert_eq!(Sets::restore(&again).map(|sets| sets.export()), Some(again));
}

/// Rules that sets are made of, in the order in which a daemon numbers them: another one each time.
const RULES: [&str; 4] = ["apps", "zone", "ads", "work"];

/// What is counted is in the books once: bytes are packets that are counted, readings that are posted, and restarts, after which
/// rules have other numbers and counters go on from the books.
///
/// Input: actions and directions of four rules; then for each step its kind, and for packets which rules list them (a bit each),
/// where they are met, and how many there are.
fn books(bytes: &mut Bytes<'_>) {
    let rules: Vec<RuleIdentity> = RULES
        .iter()
        .map(|&name| {
            let (action, direction) = identity(bytes.byte());
            RuleIdentity { name: name.into(), action, direction }
        })
        .collect();
    let hook = |device: &str, egress| Hook { device: device.into(), egress };
    let hooks = BTreeMap::from([(1, hook("lan0", false)), (2, hook("lan0", true)), (3, hook("wan0", false))]);
    let (mut sets, mut reading, mut ledger) = (Sets::default(), Reading::default(), Ledger::default());
    let (mut expected, mut booked) = (Booked::new(), Booked::new());
    let enter = |ledger: &mut Ledger, reading: &Reading, sets: &Sets, booked: &mut Booked| {
        let interval = ledger.post(reading, Names { sets, ports: &hooks }, 0, 1);
        for (account, tally) in interval.accounts {
            let direction = account.direction as u32;
            *booked.entry((account.action, account.rules, direction, account.device)).or_default() += tally;
        }
    };
    for _ in 0..64 {
        if bytes.is_empty() {
            break;
        }
        match bytes.below(8) {
            0 => enter(&mut ledger, &reading, &sets, &mut booked),
            1 => {
                enter(&mut ledger, &reading, &sets, &mut booked);
                let text = serde_json::to_vec(&ledger).unwrap();
                ledger = serde_json::from_slice(&text).unwrap();
                sets = Sets::default();
                // Ports are given anew, too, and happen to be the same.
                let port = |hook: &Hook| hooks.iter().find(|(_, known)| *known == hook).map_or(0, |(port, _)| *port);
                reading = ledger.reopen(&mut sets, port);
            }
            _ => {
                let (members, port, direction, packets) =
                    (bytes.byte(), bytes.pick(&[1, 2, 3]), bytes.byte(), bytes.byte());
                let members: Vec<&RuleIdentity> =
                    (0..).zip(&rules).filter(|(bit, _)| members >> bit & 1 == 1).map(|(_, rule)| rule).collect();
                if members.is_empty() {
                    continue;
                }
                let mut ids: Vec<u32> = members.iter().map(|rule| sets.rule_id(rule)).collect();
                ids.sort_unstable();
                let set = sets.set_id(&ids).unwrap();
                let tally = Tally { packets: packets.into(), bytes: 100 * u64::from(packets) };
                let (v6, direction) =
                    (direction & 2 != 0, if direction & 1 == 1 { Direction::In } else { Direction::Out });
                *reading.hits.entry(Key { port, set, direction, v6 }).or_default() += tally;
                if let Some((action, names)) = credited(&members, direction)
                    && (action == RuleAction::Block || !hooks[&port].egress)
                    && packets > 0
                {
                    let account = (action, names, direction as u32, hooks[&port].device.clone());
                    *expected.entry(account).or_default() += tally;
                }
            }
        }
    }
    enter(&mut ledger, &reading, &sets, &mut booked);
    assert_eq!(booked, expected);
}

/// Packets by action, rules, direction and device.
type Booked = BTreeMap<(RuleAction, Vec<String>, u32, String), Tally>;

/// The oracle: what happens to a packet that these rules list, and who made it so. Allow beats all, then block.
fn credited(members: &[&RuleIdentity], direction: Direction) -> Option<(RuleAction, Vec<String>)> {
    let speaks = |rule: &RuleIdentity| match rule.direction {
        RuleDirection::Both => true,
        RuleDirection::Out => direction == Direction::Out,
        RuleDirection::In => direction == Direction::In,
    };
    let of = |actions: &[RuleAction]| {
        let rules = members.iter().filter(|rule| speaks(rule) && actions.contains(&rule.action));
        let mut names: Vec<String> = rules.map(|rule| rule.name.clone()).collect();
        names.sort();
        Some(names).filter(|names| !names.is_empty())
    };
    if let Some(names) = of(&[RuleAction::Allow]) {
        return Some((RuleAction::Allow, names));
    }
    let names = of(&[RuleAction::Block, RuleAction::Monitor])?;
    Some((if of(&[RuleAction::Block]).is_some() { RuleAction::Block } else { RuleAction::Monitor }, names))
}
