//! Why an address is blocked, by the policy in force. Works beside the loop: to resolve every list takes a while, and clients
//! must not hold up the filter by asking.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::control::Answer;
use crate::controller::Policy;
use crate::network;
use crate::ruleset::explain::{Explained, Suspension, explain};
use crate::ruleset::{self, Sets};

/// Answers a client. `turn` lets one question after the other take the memory that an answer needs.
pub(super) async fn answer(
    address: IpAddr,
    policy: Option<Arc<Policy>>,
    turn: Arc<Semaphore>,
    reply: oneshot::Sender<Answer>,
) {
    // The semaphore is never closed; without a turn the answer is late, not wrong.
    let _turn = turn.acquire().await;
    if reply.is_closed() {
        return;
    }
    let judged = spawn_blocking(move || {
        let policy = policy.context("no ruleset is in force yet; ask again in a moment")?;
        judge(address, &policy)
    });
    let answer = match judged.await {
        Ok(Ok(explained)) => Answer::Explained(Box::new(explained)),
        Ok(Err(problem)) => Answer::Error(format!("{problem:#}")),
        Err(problem) => Answer::Error(format!("cannot explain {address}: {problem}")),
    };
    // A client that went away gets none.
    let _ = reply.send(answer);
}

fn judge(address: IpAddr, policy: &Policy) -> anyhow::Result<Explained> {
    let resolved = ruleset::resolve(&policy.config, &policy.copies)?;
    let host = network::host().context("cannot read this host's addresses")?;
    let written = resolved.rules.iter().flat_map(|rule| &rule.written);
    let guard = ruleset::guard(&policy.config.never_block, &host, written);
    let in_force: Vec<_> = policy.rules(&resolved).into_iter().filter(|rule| policy.is_awake(rule)).collect();
    let devices = network::indices().context("cannot list the network devices")?;
    let compiled = ruleset::compile(&in_force, &guard, &mut Sets::default(), &devices)?;
    let suspension = Suspension { resting: Some(&policy.resting), paused: policy.paused };
    Ok(explain(address, &resolved, &guard, &compiled, suspension))
}
