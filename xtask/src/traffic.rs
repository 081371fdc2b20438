//! Echo traffic of the lab, run inside namespaces as hidden verbs. It reports what arrived and judges nothing.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

/// Printed once every socket is bound.
pub(crate) const READY: &str = "ready";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Answers on every address and prints a line with the tag of each message that arrives.
#[derive(Args)]
pub(crate) struct Server {
    #[arg(long)]
    port: u16,
    addresses: Vec<IpAddr>,
}

impl Server {
    pub(crate) fn run(&self) -> Result<()> {
        for address in &self.addresses {
            let bind = SocketAddr::new(*address, self.port);
            let cannot = || format!("cannot listen on {bind}");
            let udp = UdpSocket::bind(bind).with_context(cannot)?;
            let tcp = TcpListener::bind(bind).with_context(cannot)?;
            thread::spawn(move || serve_udp(&udp));
            thread::spawn(move || serve_tcp(&tcp));
        }
        println!("{READY}");
        loop {
            thread::park();
        }
    }
}

fn serve_udp(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        writeln!(io::stdout(), "{}", String::from_utf8_lossy(&buffer[..length]).trim())?;
        // The answer's loss is the asker's business.
        socket.send_to(&buffer[..length], peer).ok();
    }
}

fn serve_tcp(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            let tag = first_line(&stream)?;
            writeln!(io::stdout(), "{tag}")?;
            writeln!(&stream, "{tag}")
        });
    }
    Ok(())
}

/// Sends a tag and waits for its echo.
#[derive(Args)]
pub(crate) struct Probe {
    #[arg(long)]
    to: SocketAddr,
    /// Source address; UDP only
    #[arg(long)]
    from: Option<IpAddr>,
    #[arg(long)]
    protocol: Protocol,
    #[arg(long)]
    tag: String,
    /// How long to try
    #[arg(long)]
    within_ms: u64,
}

impl Probe {
    /// Whether the echo came back in time.
    pub(crate) fn run(&self) -> Result<bool> {
        let deadline = Instant::now() + Duration::from_millis(self.within_ms);
        match self.protocol {
            Protocol::Tcp => Ok(self.tcp(deadline).is_ok_and(|echo| echo == self.tag)),
            Protocol::Udp => self.udp(deadline),
        }
    }

    fn tcp(&self, deadline: Instant) -> io::Result<String> {
        let stream = TcpStream::connect_timeout(&self.to, left(deadline))?;
        stream.set_read_timeout(Some(left(deadline)))?;
        writeln!(&stream, "{}", self.tag)?;
        first_line(&stream)
    }

    fn udp(&self, deadline: Instant) -> Result<bool> {
        let any = if self.to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let from = SocketAddr::new(self.from.unwrap_or(any), 0);
        let socket = UdpSocket::bind(from).with_context(|| format!("cannot send from {from}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut buffer = [0; 256];
        while Instant::now() < deadline {
            // Both may fail for a while, as long as the neighbour is being resolved.
            socket.send_to(self.tag.as_bytes(), self.to).ok();
            if socket.recv(&mut buffer).is_ok_and(|length| &buffer[..length] == self.tag.as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn first_line(stream: &TcpStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// The time that is left; zero would mean "no limit" to the socket.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
