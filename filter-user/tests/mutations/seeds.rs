//! What mutants are made of: every file of the data set, its content where it is compressed, and the example
//! configuration. Knows no format, so a file that is added there is a seed at once.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bzip2::read::BzDecoder;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// Longer files are cut here: the places where a reader goes wrong are in the first thousand lines, too.
const LONGEST: usize = 64 << 10;

/// Files that speak of other files of the data set.
const ABOUT: [&str; 3] = ["md", "out", "sha256"];

/// The lines that say the most in the fewest bytes.
const DENSE: [&str; 4] = ["::\n", "1.1.1.1\n", "1.1.1.1/1\n", "::,::,1\n"];

/// Bytes that at least one reader can read, or is sure to be given.
pub(crate) struct Seed {
    /// The file below the data directory, and what was made of it.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// All seeds; `None`, told in the form that the test runner counts, where the data set is absent.
pub(crate) fn all(test: &str) -> Option<Vec<Seed>> {
    let root = env::var_os("WEIR_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    if !root.is_dir() {
        let line = format!("skipped: {test}: {} not found\n", root.display());
        // Not eprintln!, which the harness shows for failed tests only; one write, so that lines stay whole.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    let mut paths = Vec::new();
    files_below(&root, &mut paths);
    paths.sort();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/weir.toml");
    let mut seeds = vec![Seed { name: "weir.toml".into(), bytes: fs::read(example).unwrap() }];
    for line in DENSE {
        let bytes = line.repeat(LONGEST / line.len()).into_bytes();
        seeds.push(Seed { name: format!("{line:?} again and again"), bytes });
    }
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(content) = content(&bytes, LONGEST) {
            // Cut, a compressed file is cut inside; mutants of a whole one are needed as well.
            seeds.push(Seed { name: format!("{name}, compressed anew"), bytes: compressed(&content) });
            seeds.push(Seed { name: format!("{name}, unpacked"), bytes: content });
        }
        bytes.truncate(LONGEST);
        seeds.push(Seed { name, bytes });
    }
    Some(seeds)
}

/// The same bytes as a gzip file.
pub(crate) fn compressed(content: &[u8]) -> Vec<u8> {
    let mut whole = GzEncoder::new(Vec::new(), Compression::default());
    whole.write_all(content).unwrap();
    whole.finish().unwrap()
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let about = path.extension().is_some_and(|extension| ABOUT.iter().any(|about| extension == *about));
        if path.is_dir() {
            files_below(&path, files);
        } else if !about {
            files.push(path);
        }
    }
}

/// What the bytes hold when unpacked, as far as they can be and to `limit` bytes; `None` where they are not compressed.
pub(crate) fn content(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    // What came before the error is what a reader has to hold, too.
    let _ = match bytes {
        [0x1f, 0x8b, ..] => MultiGzDecoder::new(bytes).take(limit as u64).read_to_end(&mut content),
        [b'B', b'Z', b'h', ..] => BzDecoder::new(bytes).take(limit as u64).read_to_end(&mut content),
        _ => return None,
    };
    Some(content)
}
