//! Where the page is served: what other hosts see of it, and that an address in use never costs the filter.

use std::net::{SocketAddr, TcpListener};

use weir_tests::http;
use weir_tests::lab::{DEADLINE, LISTED_V4, Path};
use weir_tests::wait_until;

use crate::site::{PAGE, Site, datagram};

#[test]
fn another_host_reads_with_the_token_only() {
    let site = Site::start("[http]\nlisten = \"10.66.0.1:9846\"\nhosts = [\"router.lan\"]\n");
    let here: SocketAddr = "10.66.0.1:9846".parse().unwrap();
    let bearer = format!("Bearer {}", site.token());
    let ask = |path: &str, headers: &[(&str, &str)]| http::ask(&site.path.lan, here, "GET", path, headers, b"");
    assert_eq!(ask("/", &[]).status, 200, "the page asks for the token");
    for path in ["/api/v1/status", "/api/v1/history", "/api/v1/explain?address=192.0.2.1", "/healthz", "/metrics"] {
        let refused = ask(path, &[]);
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer realm=\"weir\""), "{path}");
        let given = ask(path, &[("Authorization", &bearer), ("Host", "router.lan:9846")]);
        assert!([200, 404].contains(&given.status), "{path}: {}", given.status);
    }
    assert_eq!(ask("/api/v1/status", &[("Authorization", &bearer), ("Host", "evil.example")]).status, 421);
    let log = site.weir.stderr();
    assert!(log.contains("http://10.66.0.1:9846/") && log.contains("state/token"), "{log}");
    assert!(!log.contains(&site.token()), "the token is in no log");
}

#[test]
fn an_address_in_use_is_tried_again_and_the_filter_does_not_wait() {
    let path = Path::new();
    let other = path.router.enter(|| TcpListener::bind(PAGE)).unwrap();
    let site = Site::on(path, "");
    site.path.lan_socket().flood(&[datagram(LISTED_V4)], 7);
    let status = || site.weir.verb(&["status", "--json"]);
    wait_until(DEADLINE, "7 packets are dropped", || status().json()["dropped"]["packets"] == 7);
    let told = status();
    let degraded = told.json()["degraded"][0].as_str().unwrap_or_default().to_owned();
    assert!(told.code == 3 && degraded.starts_with("the page cannot be served on 127.0.0.1:9846: "), "{degraded}");
    drop(other);
    wait_until(DEADLINE, "the page is served", || http::connect(&site.path.router, PAGE).is_ok());
    assert_eq!(site.get("/healthz").status, 200);
    assert_eq!(status().code, 0);
}

#[test]
fn a_reload_moves_the_page_and_takes_it_away() {
    let site = Site::start("");
    assert_eq!(site.get("/").status, 200);
    site.reload("[http]\nlisten = \"[::1]:9999\"\n");
    let moved: SocketAddr = "[::1]:9999".parse().unwrap();
    wait_until(DEADLINE, "the page moves", || http::connect(&site.path.router, moved).is_ok());
    assert_eq!(http::ask(&site.path.router, moved, "GET", "/api/v1/status", &[], b"").status, 200);
    assert!(http::connect(&site.path.router, PAGE).is_err());
    site.reload("[http]\nlisten = \"192.0.2.77:80\"\n");
    wait_until(DEADLINE, "an address that is not there is told", || site.weir.verb(&["status"]).code == 3);
    assert!(http::connect(&site.path.router, moved).is_err());
    site.reload("[http]\nlisten = \"off\"\n");
    wait_until(DEADLINE, "no page is no fault", || site.weir.verb(&["status"]).code == 0);
}
