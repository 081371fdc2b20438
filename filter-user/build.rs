//! Compiles `filter-ebpf` for the BPF target and compresses the page's files; leaves both in `OUT_DIR`. Must build nothing
//! else.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context as _;
use aya_build::{Package, Toolchain, build_ebpf};
use flate2::Compression;
use flate2::write::GzEncoder;
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

#[expect(unsafe_code, reason = "only the nested BPF build may use -Zbuild-std on a stable compiler")]
fn main() -> anyhow::Result<()> {
    let directory = PathBuf::from(env::var("OUT_DIR").context("cargo sets OUT_DIR")?);
    // A CPU that is asked for by name has a directory below cargo's.
    let named = env::var("TARGET").context("cargo sets TARGET")?;
    let target = directory.ancestors().skip(4).find(|directory| !directory.ends_with(&named));
    // SAFETY: a build script has one thread until aya-build spawns cargo.
    unsafe {
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("CARGO_TERM_QUIET", "true");
        // Each profile and each set of features has an object of its own; `core` and the macros are compiled once for all.
        if let Some(target) = target {
            env::set_var("CARGO_BUILD_BUILD_DIR", target.join("bpf"));
        }
        // The CPU decides what registers a kprobe sees, and the filter is none: CPUs of one byte order share what is compiled.
        env::set_var("CARGO_CFG_TARGET_ARCH", "x86_64");
    }
    // aya-build watches the package it builds, not what that package depends on.
    println!("cargo:rerun-if-changed={}", concat!(env!("CARGO_MANIFEST_DIR"), "/../filter-common/src"));
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".into());
    let package = Package {
        name: "filter-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../filter-ebpf"),
        ..Package::default()
    };
    build_ebpf([package], Toolchain::Custom(&toolchain))
        .context("run `cargo xtask setup`: it installs bpf-linker and rust-src")?;
    compress(&directory.join("page"))?;
    strip(&directory.join("weir-filter"), &directory.join("weir-filter.o"))
}

/// What the daemon serves: the page, and the API's description.
const PAGE: [&str; 7] = [
    "page/index.html",
    "page/app.js",
    "page/app.css",
    "page/uplot.js",
    "page/uplot.css",
    "page/favicon.svg",
    "openapi.json",
];

/// Compresses the files that the daemon serves, so that neither it nor a router's flash has to.
fn compress(into: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    for name in PAGE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(name);
        println!("cargo:rerun-if-changed={}", path.display());
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&content)?;
        let file = Path::new(name).file_name().context("a file has a name")?;
        let mut compressed = into.join(file).into_os_string();
        compressed.push(".gz");
        fs::write(&compressed, gzip.finish()?).with_context(|| format!("cannot write {}", compressed.display()))?;
    }
    Ok(())
}

/// Copies the object without its DWARF, of which it holds ten times as much as of everything else: bpf-linker needs it
/// to make BTF, and nothing does afterwards. And without `.BTF.ext`, the source line of each instruction: the kernel would
/// keep it with each program that is loaded, for logs of a verifier that has nothing to say.
fn strip(object: &Path, stripped: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let mut builder = Builder::read(bytes.as_slice()).with_context(|| format!("cannot parse {}", object.display()))?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        let unwanted = [".debug", ".rel.debug", ".BTF.ext", ".rel.BTF.ext"];
        section.delete = unwanted.iter().any(|start| name.starts_with(start));
    }
    // LLVM keeps the names of sections among those of symbols; the builder wants them in a section of their own.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    builder.delete_orphans();
    let mut bytes = Vec::new();
    builder.write(&mut bytes).with_context(|| format!("cannot strip {}", object.display()))?;
    fs::write(stripped, bytes).with_context(|| format!("cannot write {}", stripped.display()))
}
