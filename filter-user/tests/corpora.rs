//! The fuzzers' committed inputs, replayed without a fuzzer: what one of them found once must not come back. Decides nothing;
//! what must hold stands in `fuzz/src`.

use weir_fuzz::{TARGETS, replay};

#[test]
fn what_each_target_asserts_holds_for_every_committed_input() {
    for target in &TARGETS {
        let count = replay::replay(target).unwrap();
        println!("{}: {count} inputs", target.name);
    }
}

#[test]
fn each_target_has_inputs_and_each_corpus_a_target() {
    assert_eq!(replay::faults().unwrap(), Vec::<String>::new());
}
