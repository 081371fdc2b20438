//! Every program of the object before the running kernel's verifier, in every way that a daemon loads it. Attaches nothing.

use std::collections::BTreeMap;

use filter_common::packet::Layer;
use weir::datapath::object::{Capacity, Detail, Hook, Object, Options};
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Scope, Sets, compile};

/// A program that the kernel took.
#[derive(Clone, Debug)]
pub struct Load {
    /// Its hook and layer, and how the object was loaded.
    pub what: String,
    /// How many instructions the verifier walked, where the kernel tells (5.16).
    pub walked: Option<u32>,
}

/// Loads all programs, with and without scopes, details and a trace; panics where the kernel refuses one.
#[must_use]
pub fn all() -> Vec<Load> {
    let scoped = Scope { clients: vec!["10.66.0.0/16".parse().unwrap()], vlans: vec![7], ..Scope::default() };
    let detail = Detail { clients: 64, events: 10, burst: 10 };
    let cases = [
        (Scope::default(), Detail::default(), false),
        (Scope::default(), detail, false),
        (scoped.clone(), detail, false),
        (Scope::default(), detail, true),
        (scoped, detail, true),
    ];
    cases.into_iter().flat_map(|(scope, detail, trace)| load(scope, detail, trace)).collect()
}

fn load(scope: Scope, detail: Detail, trace: bool) -> Vec<Load> {
    let how = format!("scopes {}, {detail:?}, trace {trace}", !scope.is_everywhere());
    let identity = RuleIdentity { name: "a".into(), action: RuleAction::Block, direction: RuleDirection::Both };
    let v4 = (0..40).map(|at| (0x4712_0000 + 16 * at, 0x4712_0007 + 16 * at)).collect();
    let v6 = (0..40).map(|at| ((0x2605_0340 << 96) + (at << 70), (0x2605_0340 << 96) + (at << 70) + 5)).collect();
    let rule = Rule { identity, v4, v6, scope };
    let ruleset = compile(&[rule], &Guard::default(), &mut Sets::default(), &BTreeMap::new()).unwrap();
    let capacity = Capacity { ports: 4, sets: u32::try_from(ruleset.actions.len()).unwrap() };
    let options = Options { ports: &[], capacity, pins: None, detail, trace, record: trace };
    let mut object = Object::load(&ruleset, &options).unwrap();
    let mut loads = Vec::new();
    for hook in [Hook::Xdp, Hook::TcIngress, Hook::TcEgress] {
        for layer in [Layer::Ethernet, Layer::Ip] {
            let info = match hook {
                Hook::Xdp => object.xdp(layer).unwrap().info(),
                Hook::TcIngress | Hook::TcEgress => object.classifier(hook, layer).unwrap().info(),
            };
            let walked = info.unwrap().verified_instruction_count();
            loads.push(Load { what: format!("{hook:?} {layer:?}, {how}"), walked });
        }
    }
    loads
}
