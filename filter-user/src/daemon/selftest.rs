//! Sends probes through the program that is live: what must be dropped, and what must pass. No packet reaches a wire.

use anyhow::Context as _;
use filter_common::decide::Verdict;

use super::enforcement::Enforcement;
use crate::datapath::object::Hook;
use crate::report::{Probed, SelfTest};
use crate::ruleset::probe::frame;

impl Enforcement {
    /// Probes every hook that holds a program.
    pub(super) fn self_test(&mut self) -> anyhow::Result<SelfTest> {
        let (probes, unprobed) = self.probes.clone();
        let mut test = SelfTest { generation: self.generation(), unprobed, ..SelfTest::default() };
        for device in self.devices()?.into_iter().filter(|device| device.state == "dead") {
            test.faults.push(format!("device {}: nothing is enforced ({})", device.name, device.attach));
        }
        for (device, hook, layer) in self.datapath.held() {
            let word = match hook {
                Hook::Xdp => "xdp",
                Hook::TcIngress => "ingress",
                Hook::TcEgress => "egress",
            };
            for probe in &probes {
                let frame = frame(probe.direction, probe.address, layer);
                let verdict = self.datapath.probe(hook, layer, &frame).context("nothing is live")??;
                let dropped = verdict == Verdict::Drop;
                if dropped != probe.rule.is_some() {
                    let (address, what) = (probe.address, if dropped { "dropped" } else { "passed" });
                    test.faults.push(match &probe.rule {
                        Some(rule) => format!("device {device}: rule \"{rule}\" must drop {address}, and it {what}"),
                        None => format!("device {device}: {address} is in no rule, and it was {what}"),
                    });
                }
                test.probes.push(Probed { device: device.clone(), hook: word.into(), probe: probe.clone(), dropped });
            }
        }
        if test.probes.iter().all(|probed| probed.probe.rule.is_none()) {
            test.faults.push("no rule blocks anything that could be probed".into());
        }
        Ok(test)
    }
}
