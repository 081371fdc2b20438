//! How much of the shipped object the kernel's verifier walks: far below the million instructions that it takes (since
//! 5.2), because older kernels recognise fewer states that they have seen. Attaches nothing.

use std::collections::BTreeMap;

use filter_common::packet::Layer;
use weir::datapath::object::{Capacity, Detail, Hook, Object, Options};
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Scope, Sets, compile};
use weir_tests::{require_root, skipped};

const MOST: u32 = 60_000;

#[test]
fn each_program_is_verified_within_60_000_instructions_with_scopes_and_without() {
    require_root();
    let scoped = Scope { clients: vec!["10.66.0.0/16".parse().unwrap()], vlans: vec![7], ..Scope::default() };
    let detail = Detail { clients: 64, events: 10, burst: 10 };
    let cases = [
        (Scope::default(), Detail::default(), false),
        (Scope::default(), detail, false),
        (scoped.clone(), detail, false),
        (Scope::default(), detail, true),
        (scoped, detail, true),
    ];
    for (scope, detail, trace) in cases {
        let what = format!("scopes {}, {detail:?}, trace {trace}", !scope.is_everywhere());
        let identity = RuleIdentity { name: "a".into(), action: RuleAction::Block, direction: RuleDirection::Both };
        let v4 = (0..40).map(|at| (0x4712_0000 + 16 * at, 0x4712_0007 + 16 * at)).collect();
        let v6 = (0..40).map(|at| ((0x2605_0340 << 96) + (at << 70), (0x2605_0340 << 96) + (at << 70) + 5)).collect();
        let rule = Rule { identity, v4, v6, scope };
        let ruleset = compile(&[rule], &Guard::default(), &mut Sets::default(), &BTreeMap::new()).unwrap();
        let capacity = Capacity { ports: 4, sets: u32::try_from(ruleset.actions.len()).unwrap() };
        let options = Options { ports: &[], capacity, pins: None, detail, trace, record: trace };
        let mut object = Object::load(&ruleset, &options).unwrap();
        for hook in [Hook::Xdp, Hook::TcIngress, Hook::TcEgress] {
            for layer in [Layer::Ethernet, Layer::Ip] {
                let info = match hook {
                    Hook::Xdp => object.xdp(layer).unwrap().info(),
                    Hook::TcIngress | Hook::TcEgress => object.classifier(hook, layer).unwrap().info(),
                };
                let Some(walked) = info.unwrap().verified_instruction_count() else {
                    let test = "each_program_is_verified_within_60_000_instructions_with_scopes_and_without";
                    return skipped(test, "the kernel does not tell (5.16)");
                };
                println!("{hook:?} {layer:?}, {what}: {walked} instructions verified");
                assert!(walked <= MOST, "{hook:?} {layer:?}, {what}: {walked} instructions");
            }
        }
    }
}
