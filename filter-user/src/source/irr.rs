//! stub
use crate::prefix::Asn;
pub fn queries(_asn: Asn) -> String {
    String::new()
}
