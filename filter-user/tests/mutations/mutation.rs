//! Mutants: seeds with the damage that transfers, disks, editors and attackers do. The same ones in every run.

/// Pseudo-random numbers (xorshift64): the same seed gives the same mutants on every machine.
pub(crate) struct Random(u64);

impl Random {
    /// From any text (FNV-1a).
    pub(crate) fn new(seed: &str) -> Self {
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(seed.bytes().fold(0xcbf2_9ce4_8422_2325, hash) | 1)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<'a, T: ?Sized>(&mut self, choice: &[&'a T]) -> &'a T {
        choice[self.below(choice.len())]
    }

    /// A place in `bytes`, which are not none. Heads and tails are where the lengths are: half of all places are there.
    fn place(&mut self, bytes: &[u8]) -> usize {
        let length = bytes.len();
        match self.below(4) {
            0 => self.below(length.min(64)),
            1 => length - 1 - self.below(length.min(512)),
            _ => self.below(length),
        }
    }

    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(bytes);
        let longest = [1, 8, 200, 20_000][self.below(4)].min(bytes.len() - start);
        start..start + 1 + self.below(longest)
    }
}

/// Numbers that do not fit where others do.
const NUMBERS: [&[u8]; 8] = [
    b"",
    b"0",
    b"-1",
    b"00",
    b"256",
    b"4294967296",
    b"18446744073709551616",
    b"99999999999999999999999999999999999999999",
];
/// What opens without end, or becomes something that a terminal acts on.
const RUNS: [&[u8]; 10] = [b"[", b"{\"a\":", b"((", b"\"", b"a.", b"0", b"\n", b" ", b"\\u001b", b"\x1b[2J"];

/// Does one to three kinds of damage to `bytes`.
pub(crate) fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            bytes.extend(other);
        }
        match random.below(9) {
            0 => {
                let length = random.place(bytes);
                bytes.truncate(length);
            }
            1 => {
                for _ in 0..=random.below(8) {
                    let place = random.place(bytes);
                    bytes[place] ^= 1 << random.below(8);
                }
            }
            2 => drop(bytes.drain(random.range(bytes))),
            3 => {
                let copy = bytes[random.range(bytes)].to_vec();
                let place = random.place(bytes);
                bytes.splice(place..place, copy);
            }
            4 => {
                // The head of one file and the tail of another.
                let (mine, theirs) = (random.place(bytes), random.below(other.len() + 1));
                bytes.truncate(mine);
                bytes.extend(&other[theirs..]);
            }
            5 | 6 => {
                // A length field, whichever its width.
                let place = random.place(bytes);
                let end = bytes.len().min(place + [1, 2, 3, 4, 8][random.below(5)]);
                let (head, rest) =
                    *random.of(&[&(0, 0), &(0x7f, 0xff), &(0xff, 0xff), &(0x80, 0), &(0xff, 0x7f), &(0, 1)]);
                bytes[place..end].fill(rest);
                bytes[place] = head;
            }
            7 => {
                let from = random.place(bytes);
                let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|offset| from + offset) else {
                    continue;
                };
                let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                bytes.splice(start..start + digits, random.of(&NUMBERS).iter().copied());
            }
            _ => {
                let place = random.place(bytes);
                let run = random.of(&RUNS).repeat(1 + random.below(20_000));
                bytes.splice(place..place, run);
            }
        }
    }
}
