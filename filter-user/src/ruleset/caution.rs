//! What a rule is held against beside its lists: shared networks, reserved numbers, names that changed, registries. Refuses
//! or warns; adds no address and takes none away.

use std::collections::BTreeSet;

use super::origins::Answer;
use super::parts::{PartId, asns_of};
use super::resolve::{ResolveError, Resolving};
use crate::catalog;
use crate::prefix::{AddressSet, Asn, reserved};

/// Whether nothing of a service can be blocked by address.
fn is_nowhere(service: &catalog::Service) -> bool {
    service.lists.is_empty() && service.networks.iter().all(|network| network.dormant)
}

impl Resolving<'_> {
    pub(super) fn check_shared(&mut self) -> Result<(), ResolveError> {
        let catalog = &self.config.catalog;
        for id in &self.rule.services {
            let Some(service) = catalog.service(id) else { continue };
            if service.shared && !self.rule.allow_shared {
                let what = format!("service \"{id}\"");
                return Err(ResolveError::Shared { rule: self.name(), what, operator: service.name.clone() });
            }
            if is_nowhere(service) {
                self.silent.push(format!("service {id} has no networks of its own (`weir catalog show {id}`)"));
                self.warn(&format!(
                    "service {id} has no networks of its own; `weir catalog show {id}` says what carries it"
                ));
            }
        }
        for id in &self.rule.categories {
            let left_out = |service: &&catalog::Service| service.shared && !self.rule.allow_shared;
            let nameless = |service: &&catalog::Service| is_nowhere(service);
            let shared: Vec<_> = catalog.services_of(id).filter(left_out).map(|service| service.id.clone()).collect();
            let by_name: Vec<_> = catalog.services_of(id).filter(nameless).map(|service| service.id.clone()).collect();
            if !shared.is_empty() {
                self.warn(&format!(
                    "category \"{id}\": shared networks are left out ({}); allow_shared = true takes them in",
                    shared.join(", ")
                ));
            }
            if !by_name.is_empty() {
                self.warn(&format!(
                    "category \"{id}\": services without networks of their own are not blocked by address: {}",
                    by_name.join(", ")
                ));
            }
        }
        // An operator's own [[shared]] entry may name an AS of a service.
        for (asn, list) in asns_of(self.config, self.rule).filter(|_| !self.rule.allow_shared) {
            if let Some(shared) = catalog.shared(asn) {
                let what = if list.starts_with("AS") { list } else { format!("AS{asn} of {list}") };
                return Err(ResolveError::Shared { rule: self.name(), what, operator: shared.operator.clone() });
            }
        }
        for &asn in &self.rule.asns {
            if let Some(why) = reserved(asn)
                && !self.rule.allow_bogon
            {
                return Err(ResolveError::Bogon { rule: self.name(), asn, why });
            }
        }
        Ok(())
    }

    /// A service's ASes change hands; the name that a table gives tells.
    pub(super) fn check_names(&mut self) {
        let catalog = self.config.catalog.clone();
        let named = self.rule.services.iter().filter_map(|id| catalog.service(id));
        let of_categories = self.rule.categories.iter().flat_map(|id| catalog.services_of(id));
        for service in named.chain(of_categories) {
            for network in &service.networks {
                let Some(found) = self.origins.of(network.asn).organisation else { continue };
                if !catalog::name_fits(&network.name, &found) {
                    self.warn(&format!(
                        "service \"{}\": AS{} is \"{found}\" by now, \"{}\" was expected (checked {}): is it the service's still?",
                        service.id, network.asn, network.name, service.checked
                    ));
                }
            }
        }
    }

    /// What the routing registry holds beside or instead.
    pub(super) fn check_registry(&mut self) {
        let Some(irr) = &self.config.asn.irr else { return };
        let asns: BTreeSet<Asn> = asns_of(self.config, self.rule).map(|(asn, _)| asn).collect();
        for asn in asns {
            let Some(copy) = self.copies.get(&PartId::Source(irr.clone(), Some(asn))) else { continue };
            let (registered4, registered6) = copy.addresses();
            let all = self.origins.of(asn);
            let (mut listed4, mut listed6) = (Vec::new(), Vec::new());
            for (v4, v6) in all.answers.iter().map(Answer::addresses) {
                listed4.extend_from_slice(v4.ranges());
                listed6.extend_from_slice(v6.ranges());
            }
            let more4 = listed4.into_iter().collect::<AddressSet<u32>>().subtract(&registered4);
            let more6 = listed6.into_iter().collect::<AddressSet<u128>>().subtract(&registered6);
            if let Some(first) = more4.cidrs().next().or_else(|| more6.cidrs().next()) {
                let addresses = more4.addresses();
                self.warn(&format!("AS{asn}: {irr} does not register {addresses} IPv4 addresses and {} IPv6 prefixes that are listed, {first} first", more6.cidrs().count()));
            }
        }
    }
}
