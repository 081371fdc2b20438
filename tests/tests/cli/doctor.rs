//! `weir doctor`, on devices that were set up wrong.

use serde_json::{Value, json};
use weir_tests::lab::Path;
use weir_tests::weir::{Output, Scratch, Weir, binary};

/// What doctor says in the router's namespace, of the devices that are named.
fn doctor(path: &Path, run_dir: &std::path::Path, words: &[&str]) -> Output {
    let mut command = path.router.command(binary());
    let output = command.arg("doctor").args(words).arg("--run-dir").arg(run_dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn remedies(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["remedy"].as_str().unwrap()).collect()
}

#[test]
fn a_device_is_shown_as_it_is_set_up_and_what_is_wrong_has_a_remedy() {
    let path = Path::new();
    let files = Scratch::new();
    let text = "[[interface]]\nname = \"lan0\"\nattach = \"xdp-native\"\n[http]\nlisten = \"off\"\n\
                [[rule]]\nname = \"x\"\naction = \"block\"\nprefixes = [\"203.0.113.0/24\"]\n";
    let config = files.file("weir.toml", text).display().to_string();
    let weir = Weir::start(&path.router, ["-c", config.as_str()]);
    path.router.features("lan0", &[("rx-gro", true), ("rx-vlan-hw-parse", false)]);
    path.router.ip("link set wan0 mtu 9000");
    let output = doctor(&path, weir.run_dir(), &["--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    assert_eq!((&report["daemon"], &report["bpffs"]), (&json!(weir.pid()), &json!(true)));
    let lan0 = &report["system"]["devices"]["lan0"];
    let shown = ["driver", "mtu", "up", "xdp", "xdp_owner", "gro", "lro", "vlan_offload", "offloaded", "layer"];
    let shown: Vec<&Value> = shown.iter().map(|field| &lan0[*field]).collect();
    assert_eq!(json!(shown), json!(["veth", 1500, true, true, "weir_xdp_l2", true, false, false, false, "ethernet"]));
    assert_eq!(report["system"]["devices"]["wan0"]["mtu"], 9000);
    assert_eq!(report["system"]["devices"].as_object().unwrap().len(), 2, "loopback is left out");
    assert_eq!(report["findings"], json!([]));

    let text = doctor(&path, weir.run_dir(), &[]).stdout;
    let row = text.lines().find(|line| line.starts_with("lan0")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[..5], ["lan0", "veth", "1500", "up", "xdp-native"]);
    assert!(row.ends_with("xdp-native, tcx, tc, xdp-generic"), "{text}");

    // What is down gets nothing.
    path.router.ip("link set lan0 down");
    let report = doctor(&path, weir.run_dir(), &["--json", "lan0"]).json();
    assert_eq!(remedies(&report), ["ip link set lan0 up"]);
    assert_eq!(report["system"]["devices"].as_object().unwrap().len(), 1);

    let left = weir.kill();
    let text = doctor(&path, left.path(), &["lan0"]).stdout;
    assert!(text.contains("WARNING: weir: no daemon answers; what it left goes on filtering"), "{text}");
}

#[test]
fn without_a_daemon_it_warns_and_a_device_that_is_not_there_is_named() {
    let path = Path::new();
    let nobody = Scratch::new();
    let output = doctor(&path, nobody.path(), &["--json"]);
    assert_eq!(output.code, 3, "{output:?}");
    let report = output.json();
    assert_eq!((&report["daemon"], &report["bpffs"]), (&Value::Null, &json!(false)));
    assert_eq!(remedies(&report), ["weir run -c /etc/weir.toml, or systemctl start weir"]);
    let text = doctor(&path, nobody.path(), &[]).stdout;
    assert!(text.contains("WARNING: weir: no daemon answers: nothing is filtered"), "{text}");
    let output = doctor(&path, nobody.path(), &["gone0"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (2, "weir: device \"gone0\" does not exist; devices here: lan0, lo, wan0\n")
    );
}
