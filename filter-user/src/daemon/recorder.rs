//! Writes the history in a thread of its own: a slow disk must not hold up the loop. Decides nothing; loses nothing but
//! what is in memory when the process is killed.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::{error, info};

use crate::account::{Interval, Standing};
use crate::config::HistoryConfig;
use crate::history::{History, HistoryError};

/// The thread.
pub(super) struct Recorder {
    jobs: Option<Sender<Job>>,
    problem: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Record(Box<(Interval, Standing, Vec<u8>)>),
    /// Say when everything before is written.
    Tell(Sender<()>),
}

/// The longest wait for the disk on behalf of someone who asks for a report.
const PATIENCE: Duration = Duration::from_secs(2);

impl Recorder {
    /// Opens the history at `path`; with it comes the checkpoint that was stored last.
    pub(super) fn open(path: &Path, config: &HistoryConfig) -> Result<(Self, Option<Vec<u8>>), HistoryError> {
        let opened = History::open(path, config)?;
        if let Some(notice) = opened.notice {
            error!("{notice}");
        }
        let checkpoint = opened.history.checkpoint()?;
        let (jobs, inbox) = channel();
        let problem = Arc::new(Mutex::new(None));
        let told = Arc::clone(&problem);
        let thread = thread::spawn(move || write(opened.history, &inbox, &told));
        Ok((Self { jobs: Some(jobs), problem, thread: Some(thread) }, checkpoint))
    }

    /// Has an interval written.
    pub(super) fn record(&self, interval: Interval, standing: Standing, checkpoint: Vec<u8>) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Record(Box::new((interval, standing, checkpoint))));
        }
    }

    /// Waits until everything handed over is written, or was tried.
    pub(super) fn settle(&self) {
        let (done, told) = channel();
        if let Some(jobs) = &self.jobs
            && jobs.send(Job::Tell(done)).is_ok()
        {
            let _ = told.recv_timeout(PATIENCE);
        }
    }

    /// Why nothing can be written just now.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(mut history: History, inbox: &Receiver<Job>, told: &Mutex<Option<String>>) {
    // What could not be written is written together with what comes next.
    let mut unwritten: Option<Interval> = None;
    for job in inbox {
        let (interval, standing, checkpoint) = match job {
            Job::Record(job) => *job,
            Job::Tell(done) => {
                let _ = done.send(());
                continue;
            }
        };
        let interval = match unwritten.take() {
            Some(mut before) => {
                before.extend(interval);
                before
            }
            None => interval,
        };
        let result = history.record(&interval, &standing, &checkpoint);
        let mut problem = told.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if problem.take().is_some() {
                    info!("the history is written again");
                }
            }
            Err(cause) => {
                if problem.is_none() {
                    error!("{cause}; what was counted is kept in memory");
                }
                *problem = Some(cause.to_string());
                unwritten = Some(interval);
            }
        }
    }
}
