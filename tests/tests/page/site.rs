//! A router with a daemon that serves its page, and traffic to block or not. Judges nothing.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use weir_tests::frame::frame;
use weir_tests::http::{self, Reply};
use weir_tests::lab::{DEADLINE, LAN_V4, MAC_LAN, MAC_ROUTER_LAN, Path};
use weir_tests::wait_until;
use weir_tests::weir::{Scratch, Weir};

/// Where the page is, if nothing else is configured.
pub(crate) const PAGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9846);

/// One device, one rule that blocks, one that only counts and has a name like markup.
pub(crate) const RULES: &str = "[[interface]]\nname = \"lan0\"\n\
    [[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n\
    [[rule]]\nname = \"<b>watch</b>\"\naction = \"monitor\"\nprefixes = [\"198.51.100.0/28\"]\n";

/// A path with a daemon on its router.
pub(crate) struct Site {
    // Fields are dropped in this order: the daemon before the namespace it lives in.
    pub(crate) weir: Weir,
    pub(crate) path: Path,
    pub(crate) scratch: Scratch,
}

impl Site {
    /// Starts weir with `RULES` and more configuration, and waits until it serves its page: that waits for nothing, either.
    pub(crate) fn start(more: &str) -> Self {
        let site = Self::on(Path::new(), more);
        wait_until(DEADLINE, "the page is served", || site.weir.stderr().contains("serving the page"));
        site
    }

    /// Starts it on a path that is there, and does not wait.
    pub(crate) fn on(path: Path, more: &str) -> Self {
        // Without a route the server answers by ICMP, which would be counted, too.
        path.wan.route("blackhole 10.66.0.0/24");
        let scratch = Scratch::new();
        let file = scratch.file("weir.toml", format!("{RULES}{more}"));
        let state = scratch.path().join("state");
        let weir = Weir::start(&path.router, ["-c", file.to_str().unwrap(), "--state-dir", state.to_str().unwrap()]);
        Self { weir, path, scratch }
    }

    /// Changes what `start` added to the configuration, and reloads.
    pub(crate) fn reload(&self, more: &str) {
        self.scratch.file("weir.toml", format!("{RULES}{more}"));
        assert_eq!(self.weir.verb(&["apply"]).code, 0);
    }

    /// The token that weir made.
    pub(crate) fn token(&self) -> String {
        fs::read_to_string(self.scratch.path().join("state/token")).unwrap().trim().to_owned()
    }

    /// Asks without a token.
    pub(crate) fn get(&self, path: &str) -> Reply {
        http::ask(&self.path.router, PAGE, "GET", path, &[], b"")
    }

    /// Tells with the token.
    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token());
        http::ask(&self.path.router, PAGE, "POST", path, &[("Authorization", &bearer)], body.as_bytes())
    }

    /// Descriptors that the daemon has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.weir.pid())).unwrap().count()
    }
}

/// Tells other threads that it is over, also where the test fails before.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A datagram from the client to an address beyond the router, with a payload that marks it.
pub(crate) fn datagram(to: Ipv4Addr) -> Vec<u8> {
    frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, to).udp(9).payload(&MARK.repeat(100)).build()
}

/// What tells the tests' own packets from others.
const MARK: &[u8] = b"page";

/// Whether a frame is one of [`datagram`]'s.
pub(crate) fn is_ours(frame: &[u8]) -> bool {
    frame.ends_with(&MARK.repeat(2))
}

/// What `cargo xtask` builds and installs.
pub(crate) fn target() -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target")
}
