//! The files of the page and the API's description, compiled in as gzip. Nothing is read from disk or from elsewhere.

use std::io::Read as _;

use flate2::read::GzDecoder;
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::ACCEPT_ENCODING;

/// A file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asset {
    name: &'static str,
    /// What browsers take it for.
    pub(super) content_type: &'static str,
    /// Its content, compressed.
    pub(super) gzip: &'static [u8],
}

macro_rules! asset {
    ($name:literal, $content_type:literal) => {
        Asset {
            name: $name,
            content_type: $content_type,
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/page/", $name, ".gz")),
        }
    };
}

const ASSETS: [Asset; 7] = [
    asset!("index.html", "text/html; charset=utf-8"),
    asset!("app.js", "text/javascript; charset=utf-8"),
    asset!("app.css", "text/css; charset=utf-8"),
    asset!("uplot.js", "text/javascript; charset=utf-8"),
    asset!("uplot.css", "text/css; charset=utf-8"),
    asset!("favicon.svg", "image/svg+xml"),
    asset!("openapi.json", "application/json"),
];

impl Asset {
    /// The file of that name.
    pub(super) fn of(name: &str) -> Option<Self> {
        ASSETS.into_iter().find(|asset| asset.name == name)
    }

    /// Its content for a client that takes no gzip.
    pub(super) fn identity(self) -> std::io::Result<Bytes> {
        let mut content = Vec::new();
        GzDecoder::new(self.gzip).read_to_end(&mut content)?;
        Ok(content.into())
    }

    /// Changes with its content: the checksum and length that gzip ends with (RFC 1952, section 2.3.1).
    pub(super) fn etag(self) -> String {
        let tail = self.gzip.iter().rev().take(8).fold(0_u64, |tail, &byte| tail << 8 | u64::from(byte));
        format!("\"{tail:016x}\"")
    }
}

/// Whether the client takes gzip (RFC 9110, section 12.5.3).
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map(str::parse::<f32>);
        named && !matches!(weight, Some(Ok(0.0) | Err(_)))
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_page_is_small_enough_for_a_slow_line_and_a_small_flash() {
        let sizes = ASSETS.map(|asset| (asset.name, asset.gzip.len()));
        let sum: usize = sizes.iter().map(|(_, size)| size).sum();
        assert!(sum < 80_000, "{sum} bytes: {sizes:?}");
    }

    #[test]
    fn every_file_unpacks_and_names_nothing_on_other_hosts() {
        for asset in ASSETS {
            let text = String::from_utf8(asset.identity().unwrap().to_vec()).unwrap();
            assert!(!text.is_empty(), "{}", asset.name);
            for reference in ["src=\"http", "href=\"http", "url(http", "@import", "//cdn"] {
                assert!(!text.contains(reference), "{}: {reference}", asset.name);
            }
        }
    }

    #[test]
    fn the_page_writes_text_and_never_markup() {
        let script = String::from_utf8(Asset::of("app.js").unwrap().identity().unwrap().to_vec()).unwrap();
        for danger in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
            assert!(!script.contains(danger), "{danger}");
        }
        let page = String::from_utf8(Asset::of("index.html").unwrap().identity().unwrap().to_vec()).unwrap();
        for inline in ["style=", "<style", "onclick=", "javascript:"] {
            assert!(!page.contains(inline), "the policy forbids {inline}");
        }
    }

    #[test]
    fn an_etag_tells_contents_apart() {
        let mut etags = ASSETS.map(Asset::etag).to_vec();
        etags.sort();
        etags.dedup();
        assert_eq!(etags.len(), ASSETS.len());
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        let takes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        for yes in ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.5", "GZIP", "deflate,gzip"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip; q=0.0", "identity", "gzipx", "gzip;q=x"] {
            assert!(!takes(no), "{no}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
