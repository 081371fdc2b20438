//! Which packets a rule speaks for beside their listed address: whose they are and where they are met. Pure data.

use std::fmt;

use ipnet::IpNet;

/// A limit of a rule to some clients, VLANs or devices. Within one field any value matches; every field that is not
/// empty must match. The default has no limit.
///
/// The client is the end of the packet that is not listed: the source of a packet to a listed network, the destination
/// of a packet from one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Prefixes of LAN clients.
    pub clients: Vec<IpNet>,
    /// Ids of the outermost VLAN tag (IEEE 802.1Q), 1 to 4094; 0 stands for frames without a tag.
    pub vlans: Vec<u16>,
    /// Names of the devices at whose hooks the packet is met.
    pub devices: Vec<String>,
    /// MAC addresses of LAN clients, as they stand in the frame: at the device that faces the client, on its ingress hook
    /// for direction out and on its egress hook for direction in. Elsewhere the frame has the router's own address, and on
    /// devices without Ethernet header none; there the rule holds no packet of the client.
    pub macs: Vec<[u8; 6]>,
}

impl fmt::Display for Scope {
    /// As an operator would say it; nothing where there is no limit.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn shown<T: fmt::Display>(what: &str, values: impl Iterator<Item = T>) -> Option<String> {
            let values: Vec<String> = values.map(|value| value.to_string()).collect();
            (!values.is_empty()).then(|| format!("{what} {}", values.join(" ")))
        }
        let mac = |mac: &[u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        let vlan = |&id: &u16| if id == 0 { "untagged".into() } else { id.to_string() };
        let parts = [
            shown("clients", self.clients.iter()),
            shown("vlans", self.vlans.iter().map(vlan)),
            shown("devices", self.devices.iter()),
            shown("macs", self.macs.iter().map(mac)),
        ];
        out.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Scope {
    /// True when the rule speaks for every packet.
    #[must_use]
    pub fn is_everywhere(&self) -> bool {
        self.clients.is_empty() && self.vlans.is_empty() && self.devices.is_empty() && self.macs.is_empty()
    }
}
