//! Counts words, as JSON: small, but it compiles what real programs compile.
//!
//! `carnet-example-app TEXT` counts in the text; with `--serve` the text travels over a loopback socket first, so
//! that the asynchronous runtime and the HTTP client are used and not only linked.

use std::collections::BTreeMap;

use clap::Parser;
use regex::Regex;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Parser)]
#[command(version, about = "Counts words")]
struct Args {
    /// The text to count words in.
    text: String,
    /// Send the text through a small HTTP server on loopback first.
    #[arg(long)]
    serve: bool,
}

#[derive(Serialize)]
struct Report {
    words: BTreeMap<String, usize>,
    total: usize,
}

fn count(text: &str) -> Report {
    let word = Regex::new(r"[A-Za-z']+").expect("the pattern is constant");
    let mut words = BTreeMap::new();
    for found in word.find_iter(text) {
        *words.entry(found.as_str().to_lowercase()).or_insert(0) += 1;
    }
    let total = words.values().sum();
    Report { words, total }
}

fn through_a_socket(text: &str) -> Result<String, Box<dyn std::error::Error>> {
    let body = text.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (send, receive) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let _ = send.send(listener.local_addr()?);
            let (mut socket, _) = listener.accept().await?;
            let mut request = [0u8; 4096];
            let _ = socket.read(&mut request).await?;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            socket.write_all(head.as_bytes()).await?;
            socket.write_all(body.as_bytes()).await?;
            socket.shutdown().await
        })
    });
    let answer = ureq::get(format!("http://{}/", receive.recv()?)).call()?.body_mut().read_to_string()?;
    server.join().map_err(|_| "the server stopped")??;
    Ok(answer)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let text = if args.serve { through_a_socket(&args.text)? } else { args.text };
    println!("{}", serde_json::to_string(&count(&text))?);
    Ok(())
}
