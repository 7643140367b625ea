//! `sentistream top`: how workers are doing, live on a terminal, or once as text or JSON.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use crossbeam_channel::Receiver;
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Ended};
use crate::settings::Settings;
use crate::top::ask::{self, Told};
use crate::top::view::{self, Paint};
use crate::top::{Board, screen};

/// Columns of plain text.
const WIDTH: u16 = 110;
const LIVE_SECONDS: u64 = 10;
const ONCE_SECONDS: u64 = 2;

pub(super) const HELP: &str = "\
Examples:
  sentistream top
  sentistream top worker-0:9464 worker-1:9464
  sentistream top --once worker-0:9464 | grep 'dead letters'
  sentistream top --json worker-0:9464 | jq .lag.records

Asks each worker's admin port (/metrics, /readyz, /healthz) once a second. Everything told a second
is the rise of counters over the last seconds (--over); a worker that was started again counts from
zero. A dash is what is not known.
Keys: q, Esc or Ctrl-C quit; space pauses; Tab or the arrows left and right choose a worker, or all;
up and down scroll. Ends with 1 where it prints once and no worker answers. NO_COLOR is respected.";

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Admin ports of workers, host:port [default: `admin.listen`]
    #[arg(value_name = "ADDRESS", value_parser = address)]
    addresses: Vec<String>,
    /// Print the figures once and exit; so it does where standard output is no terminal
    #[arg(long)]
    once: bool,
    /// Print them once as JSON
    #[arg(long)]
    json: bool,
    /// Seconds that rates are taken over, 1 to 300 [default: 10; 2 where it prints once]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    over: Option<u64>,
    #[command(flatten)]
    pub(super) common: Common,
}

fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(port) if port > 0 => Ok(text.to_owned()),
        _ => Err("give an admin port as host:port, such as 127.0.0.1:9464".into()),
    }
}

/// # Errors
/// A terminal that cannot be used, standard output closed; where it prints once, that no worker answers.
pub fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    let addresses = if arguments.addresses.is_empty() { vec![own(settings)?] } else { arguments.addresses.clone() };
    let once = arguments.once || arguments.json || !io::stdout().is_terminal();
    let over = arguments.over.unwrap_or(if once { ONCE_SECONDS } else { LIVE_SECONDS });
    let mut board = Board::new(&addresses, Duration::from_secs(over), Instant::now());
    let told = ask::watch(&addresses)?;
    if once {
        return tokio::task::block_in_place(|| print(&mut board, &told, arguments.json));
    }
    let stop = Arc::new(AtomicBool::new(false));
    tokio::spawn(stopped(Arc::clone(&stop))?);
    let paint = Paint::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    tokio::task::block_in_place(|| screen::run(&mut board, &told, &stop, paint))
        .context("the terminal cannot be used")?;
    Ok(Ended::Done)
}

/// The admin port of a worker on this machine with the same settings.
fn own(settings: &Settings) -> Result<String> {
    let Some(listen) = settings.admin.listen.filter(|listen| listen.port() > 0) else {
        bail!("admin.listen names no port; say which worker is meant: sentistream top host:port");
    };
    let host = match listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    Ok(SocketAddr::new(host, listen.port()).to_string())
}

/// Says so when the process is asked to end.
fn stopped(stop: Arc<AtomicBool>) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {}, _ = hang_up.recv() => {} }
        stop.store(true, Ordering::Relaxed);
    })
}

fn print(board: &mut Board, told: &Receiver<Told>, as_json: bool) -> Result<Ended> {
    while !board.is_complete() {
        board.take(told.recv()?);
    }
    let reading = board.reading(None, Instant::now());
    let mut output = io::stdout().lock();
    if as_json {
        serde_json::to_writer(&mut output, &reading)?;
        writeln!(output)?;
    } else {
        output.write_all(view::text(&view::page(&reading, WIDTH, Paint::new(false))).as_bytes())?;
    }
    let silent = reading.workers.iter().filter(|worker| worker.state == "silent");
    if silent.count() == reading.workers.len() {
        bail!("no worker answers; is admin.listen where it was asked, and reachable from here?");
    }
    Ok(Ended::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:9464", "worker-0.workers:9464", "[::1]:9464"] {
            assert_eq!(address(good), Ok(good.to_owned()));
        }
        for bad in ["worker-0", ":9464", "worker-0:0", "worker-0:http", "http://worker-0:9464", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_an_address_the_settings_say_where() {
        let mut settings = crate::settings::load(None).expect("the defaults");
        assert_eq!(own(&settings).expect("a port"), "127.0.0.1:9464");
        settings.admin.listen = "0.0.0.0:1234".parse().ok();
        assert_eq!(own(&settings).expect("a port"), "127.0.0.1:1234");
        for none in [None, "127.0.0.1:0".parse().ok()] {
            settings.admin.listen = none;
            assert!(own(&settings).expect_err("no port").to_string().contains("sentistream top host:port"));
        }
    }
}
