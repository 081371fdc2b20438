//! Sealed reports: minisign takes them for its own, and nothing about them or their chain can be changed unnoticed.

use std::fs;
use std::process::Command;

use weir_tests::skipped;
use weir_tests::weir::{Output, Scratch};

use crate::{finish, report, two_hours};

fn seal(scratch: &Scratch, name: &str, format: &str) {
    let output = report(scratch, &["--format", format, "--output", name]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    assert!(output.stdout.contains(&format!("check it with: weir report verify {name} --state-dir ")), "{output:?}");
}

fn verify(scratch: &Scratch, name: &str) -> Output {
    report(scratch, &["verify", name])
}

#[test]
fn minisign_accepts_every_format() {
    let scratch = Scratch::new();
    two_hours(&scratch.path().join("state"));
    for format in ["text", "json", "csv", "html"] {
        let name = format!("report.{format}");
        seal(&scratch, &name, format);
        let verified = verify(&scratch, &name);
        assert_eq!((verified.code, verified.stderr.as_str()), (0, ""), "{verified:?}");
    }
    if !Command::new("sh").args(["-c", "command -v minisign"]).output().unwrap().status.success() {
        skipped("minisign_accepts_every_format", "no minisign");
        return;
    }
    for (serial, format) in (1..).zip(["text", "json", "csv", "html"]) {
        let mut minisign = Command::new("minisign");
        minisign.args(["-V", "-p", "state/report.pub", "-m", &format!("report.{format}")]);
        let output = finish(minisign.current_dir(scratch.path()));
        assert_eq!(output.code, 0, "{output:?}");
        assert!(output.stdout.contains("Signature and comment signature verified"), "{output:?}");
        assert!(output.stdout.contains(&format!("weir report serial={serial} previous=")), "{output:?}");
    }
    let changed = fs::read_to_string(scratch.path().join("report.json")).unwrap().replace("192.0.2.1", "192.0.2.9");
    scratch.file("report.json", changed);
    let mut minisign = Command::new("minisign");
    minisign.args(["-V", "-p", "state/report.pub", "-m", "report.json"]);
    assert_ne!(finish(minisign.current_dir(scratch.path())).code, 0);
}

#[test]
fn every_report_names_the_one_before_it() {
    let scratch = Scratch::new();
    two_hours(&scratch.path().join("state"));
    seal(&scratch, "1.json", "json");
    seal(&scratch, "2.json", "json");
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(scratch.path().join(name)).unwrap()).unwrap()
    };
    let sum = finish(Command::new("sha256sum").arg(scratch.path().join("1.json")));
    let sum = sum.stdout.split(' ').next().unwrap().to_owned();
    assert_eq!((&json("1.json")["serial"], &json("1.json")["previous"]), (&1.into(), &serde_json::Value::Null));
    assert_eq!((&json("2.json")["serial"], &json("2.json")["previous"]), (&2.into(), &sum.clone().into()));
    for (serial, format, says) in [
        (3, "text", "report 3 of this host, after the one with SHA-256"),
        (4, "csv", "# weir report serial=4 previous="),
        (5, "html", "report 5 of this host, after the one with SHA-256 "),
    ] {
        let name = format!("{serial}.{format}");
        seal(&scratch, &name, format);
        assert!(fs::read_to_string(scratch.path().join(&name)).unwrap().contains(says), "{name}");
    }
    // Without the chain of that host, the signature alone can be checked, and that is said.
    let alone = finish(
        Command::new(weir_tests::weir::binary())
            .args(["report", "verify", "2.json", "--key", "state/report.pub"])
            .current_dir(scratch.path()),
    );
    assert_eq!((alone.code, alone.stderr.as_str()), (0, ""));
    assert!(alone.stdout.contains("the chain was not checked"), "{alone:?}");
}

#[test]
fn every_tampering_has_a_line_of_its_own_and_exit_code_1() {
    let scratch = Scratch::new();
    two_hours(&scratch.path().join("state"));
    for name in ["1.txt", "2.txt", "3.txt"] {
        seal(&scratch, name, "text");
    }
    let path = |name: &str| scratch.path().join(name);
    let read = |name: &str| fs::read_to_string(path(name)).unwrap();
    let (report, signature, chain) = (read("2.txt"), read("2.txt.minisig"), read("state/reports.log"));
    let links: Vec<&str> = chain.lines().collect();
    let told = |says: &str| {
        let output = verify(&scratch, "2.txt");
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{says}: {output:?}");
        assert!(output.stderr.contains(says) && output.stderr.lines().count() == 1, "{says}: {output:?}");
        for (name, good) in [("2.txt", &report), ("2.txt.minisig", &signature), ("state/reports.log", &chain)] {
            fs::write(path(name), good).unwrap();
        }
        assert_eq!(verify(&scratch, "2.txt").code, 0);
    };
    fs::write(path("2.txt"), report.replacen('2', "3", 1)).unwrap();
    told("the report does not match its signature");
    fs::copy(path("3.txt.minisig"), path("2.txt.minisig")).unwrap();
    told("the report does not match its signature");
    fs::write(path("2.txt.minisig"), signature.replace("serial=2", "serial=3")).unwrap();
    told("the signature's comment was changed");
    fs::remove_file(path("2.txt.minisig")).unwrap();
    told("cannot read signature ");
    // Another report of the same host, with its signature, under this name: good, and report 3.
    fs::copy(path("3.txt"), path("2.txt")).unwrap();
    fs::copy(path("3.txt.minisig"), path("2.txt.minisig")).unwrap();
    assert!(verify(&scratch, "2.txt").stdout.contains("is report 3 of "));
    fs::write(path("2.txt"), &report).unwrap();
    fs::write(path("2.txt.minisig"), &signature).unwrap();

    fs::write(path("state/reports.log"), format!("{}\n", links[0])).unwrap();
    told("the chain ends with serial 1 and lacks report 2");
    fs::write(path("state/reports.log"), format!("{}\n{}\n", links[1], links[2])).unwrap();
    told("line 1 of the chain has serial 2 where 1 should be");
    fs::write(path("state/reports.log"), format!("{}\n{}\n{}\n", links[0], links[2], links[1])).unwrap();
    told("line 2 of the chain has serial 3 where 2 should be");
    fs::write(path("state/reports.log"), chain.replacen("\"sha256\":\"", "\"sha256\":\"0", 1)).unwrap();
    told("line 2 of the chain does not follow line 1");
    fs::write(path("state/reports.log"), "nonsense\n").unwrap();
    told("line 1 of the chain is no link");
    fs::remove_file(path("state/reports.log")).unwrap();
    told("cannot read chain of reports ");

    // Another host's key.
    fs::rename(path("state/report.pub"), path("good.pub")).unwrap();
    fs::remove_file(path("state/report.key")).unwrap();
    fs::rename(path("state/reports.log"), path("good.log")).unwrap();
    seal(&scratch, "other.txt", "text");
    let output = verify(&scratch, "2.txt");
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("the report is signed with key "), "{output:?}");
}
