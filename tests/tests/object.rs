//! The shipped object's instructions: nothing in them that kernel 5.10 or a 32-bit JIT does not take. Reads the object as
//! it is embedded in weir; loads nothing, so it needs no root.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use filter_common::abi::map;
use std::collections::BTreeSet;

use object::{File, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex};
use weir::datapath::object::OBJECT;

const PROGRAM_SECTIONS: [&str; 2] = ["xdp", "classifier"];
const PROGRAMS: [&str; 6] = ["weir_in_l2", "weir_in_l3", "weir_out_l2", "weir_out_l3", "weir_xdp_l2", "weir_xdp_l3"];

/// Helpers that weir may call, by the number in include/uapi/linux/bpf.h and the kernel that brought them. A new one needs
/// a kernel of 5.10 at most, or a probe.
const HELPERS: [(i32, &str); 7] = [
    (1, "map_lookup_elem, 3.18"),
    (5, "ktime_get_ns, 4.1"),
    (39, "skb_pull_data, 4.9"),
    (130, "ringbuf_output, 5.8"),
    (131, "ringbuf_reserve, 5.8"),
    (132, "ringbuf_submit, 5.8"),
    (133, "ringbuf_discard, 5.8"),
];

/// An instruction of the object, as `struct bpf_insn` lays it out.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    opcode: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

const CALL: u8 = 0x85;
/// A 64-bit load: it takes two places, and the second has no opcode.
const LOAD_64: u8 = 0x18;

fn instructions(code: &[u8]) -> Vec<Instruction> {
    let (whole, rest) = code.as_chunks::<8>();
    assert!(rest.is_empty(), "{} bytes are no whole instructions", code.len());
    let mut found = Vec::new();
    let mut places = whole.iter();
    while let Some(&[opcode, registers, o0, o1, i0, i1, i2, i3]) = places.next() {
        let (offset, immediate) = (i16::from_le_bytes([o0, o1]), i32::from_le_bytes([i0, i1, i2, i3]));
        found.push(Instruction { opcode, source: registers >> 4, offset, immediate });
        if opcode == LOAD_64 {
            assert_eq!(places.next().unwrap()[0], 0, "the second half of a 64-bit load");
        }
    }
    found
}

/// Why an instruction may not be in the object.
fn objection(instruction: Instruction) -> Option<&'static str> {
    let Instruction { opcode, source, offset, immediate } = instruction;
    let (class, mode) = (opcode & 0x07, opcode & 0xe0);
    match opcode {
        CALL if source == 1 => return Some("a BPF-to-BPF call: the ARM32 and MIPS32 JITs have none"),
        CALL if source == 2 => return Some("a call of a kernel function: 5.13"),
        CALL if !HELPERS.iter().any(|&(number, _)| number == immediate) => return Some("a helper not on the list"),
        _ => {}
    }
    match class {
        // BPF_STX with BPF_ATOMIC, BPF_XADD before 5.12: 0xc3 and 0xdb.
        3 if mode == 0xc0 => Some("an atomic: the ARM32 and MIPS32 JITs have none"),
        1 if mode == 0x80 => Some("a load with sign extension: 6.6"),
        // ALU and ALU64: MOV of part of a register, DIV and MOD with sign.
        4 | 7 if offset != 0 && matches!(opcode & 0xf0, 0xb0 | 0x30 | 0x90) => Some("a signed move or division: 6.6"),
        7 if matches!(opcode & 0xf0, 0x30 | 0x90) => Some("a division of 64 bits: the ARM32 JIT has none"),
        7 if opcode & 0xf0 == 0xd0 => Some("an unconditional byte swap: 6.6"),
        6 if opcode & 0xf0 == 0 => Some("a long jump: 6.6"),
        _ => None,
    }
}

fn shipped() -> File<'static> {
    File::parse(OBJECT).unwrap()
}

#[test]
fn the_object_has_the_six_programs_and_one_section_for_each_hook() {
    let object = shipped();
    let sections = PROGRAM_SECTIONS.map(|name| object.section_by_name(name).unwrap().index());
    let in_section = |at: Option<SectionIndex>| at.is_some_and(|at| sections.contains(&at));
    let functions = object.symbols().filter(|symbol| symbol.is_global() && in_section(symbol.section_index()));
    let names: BTreeSet<_> = functions.map(|symbol| symbol.name().unwrap().to_owned()).collect();
    assert!(names.iter().eq(&PROGRAMS), "{names:?}");
    // Whatever holds code is one of the two, or the library functions that no program calls.
    let code = object.sections().filter(|section| section.kind() == object::SectionKind::Text);
    let names: BTreeSet<_> = code.map(|section| section.name().unwrap().to_owned()).collect();
    assert!(names.iter().eq([".text", "classifier", "xdp"].iter()), "{names:?}");
}

#[test]
fn the_object_has_no_bpf_call_no_atomic_and_nothing_newer_than_kernel_5_10() {
    let object = shipped();
    let mut helpers = BTreeSet::new();
    for name in PROGRAM_SECTIONS {
        let found = instructions(object.section_by_name(name).unwrap().data().unwrap());
        println!("{name}: {} instructions", found.len());
        for (at, &instruction) in found.iter().enumerate() {
            let why = objection(instruction);
            assert!(why.is_none(), "{name}, instruction {at}: {instruction:?} is {}", why.unwrap_or_default());
        }
        helpers.extend(found.iter().filter(|found| found.opcode == CALL).map(|found| found.immediate));
    }
    println!("helpers: {helpers:?}");
    let listed: BTreeSet<_> = HELPERS.iter().map(|&(number, _)| number).collect();
    assert_eq!(helpers, listed, "the list names helpers that nothing calls");
}

#[test]
fn no_program_refers_to_code_outside_itself() {
    let object = shipped();
    for name in PROGRAM_SECTIONS {
        let section = object.section_by_name(name).unwrap();
        let mut relocations = 0;
        for (_, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { unreachable!("{relocation:?}") };
            let symbol = object.symbol_by_index(symbol).unwrap();
            let target = object.section_by_index(symbol.section_index().unwrap()).unwrap();
            let target = target.name().unwrap();
            assert!(
                [".maps", "maps", ".rodata", map::ROOT4, map::ROOT6, map::CLOCK].contains(&target),
                "{name} refers to {target}: {symbol:?}"
            );
            relocations += 1;
        }
        assert!(relocations > 0, "{name} refers to no map");
    }
}

#[test]
fn the_check_finds_each_kind_of_instruction_that_may_not_be_there() {
    let refused: [(&str, [u8; 8]); 13] = [
        ("BPF-to-BPF call", [CALL, 0x10, 0, 0, 5, 0, 0, 0]),
        ("kernel function", [CALL, 0x20, 0, 0, 5, 0, 0, 0]),
        ("not on the list", [CALL, 0, 0, 0, 156, 0, 0, 0]),
        ("atomic", [0xc3, 0x21, 0, 0, 0, 0, 0, 0]),
        ("atomic", [0xdb, 0x21, 0xf8, 0xff, 0, 0, 0, 0]),
        // Compare and exchange.
        ("atomic", [0xdb, 0x21, 0, 0, 0xf1, 0, 0, 0]),
        ("sign extension", [0x81, 0x21, 0, 0, 0, 0, 0, 0]),
        ("signed move", [0xbf, 0x21, 8, 0, 0, 0, 0, 0]),
        ("signed move or division", [0x37, 0x01, 1, 0, 3, 0, 0, 0]),
        ("division of 64 bits", [0x37, 0x01, 0, 0, 3, 0, 0, 0]),
        // The remainder.
        ("division of 64 bits", [0x9f, 0x21, 0, 0, 0, 0, 0, 0]),
        ("byte swap", [0xd7, 0x01, 0, 0, 16, 0, 0, 0]),
        ("long jump", [0x06, 0, 0, 0, 9, 0, 0, 0]),
    ];
    for (why, bytes) in refused {
        let found = instructions(&bytes);
        assert!(objection(found[0]).is_some_and(|text| text.contains(why)), "{why}: {bytes:02x?}");
    }
    // A helper's call, the two halves of a load (the second looks like a call's bytes), a store, a jump, an addition.
    let accepted = [
        [CALL, 0, 0, 0, 1, 0, 0, 0],
        [LOAD_64, 0x11, 0, 0, 0xdb, 0, 0, 0],
        [0, 0, 0, 0, CALL, 0x10, 0, 0],
        [0x7b, 0x21, 0, 0, 0, 0, 0, 0],
        [0x05, 0, 3, 0, 0, 0, 0, 0],
        [0x07, 0x01, 0, 0, 0xdb, 0, 0, 0],
    ];
    let found = instructions(&accepted.concat());
    assert_eq!(found.len(), 5);
    assert!(found.into_iter().all(|instruction| objection(instruction).is_none()));
}
