//! A web server as small as the pages need: it serves the files of one folder and hands on what is posted to it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};

/// What a page posted; it waits for an answer.
pub struct Post {
    /// The number in the page's address.
    pub page: usize,
    /// The last part of the path.
    pub verb: String,
    /// The body.
    pub body: String,
    stream: TcpStream,
}

impl Post {
    /// Answers with a text.
    pub fn answer(&self, text: &str) {
        respond(&self.stream, "200 OK", "text/plain", text.as_bytes());
    }
}

/// Serves the files of `site` until the program ends; returns the port and the posts as they arrive.
///
/// # Errors
/// There is no free port.
pub fn serve(site: &Path) -> Result<(u16, Receiver<Post>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port for the test pages")?;
    let port = listener.local_addr()?.port();
    let (sender, receiver) = channel();
    let site = PathBuf::from(site);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A thread for each connection: a browser opens connections ahead of need, and those say nothing for long.
            let (sender, site) = (sender.clone(), site.clone());
            std::thread::spawn(move || take(stream, &site, &sender));
        }
    });
    Ok((port, receiver))
}

/// Reads one request; files are answered here. A page that has gone away in between is nobody's concern.
fn take(stream: TcpStream, site: &Path, posts: &Sender<Post>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut n_body = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).ok()? <= 2 {
            break;
        }
        if let Some(length) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            n_body = length.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; n_body];
    reader.read_exact(&mut body).ok()?;
    let (method, rest) = request.split_once(' ')?;
    let target = rest.split(' ').next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let name = path.trim_start_matches('/');
    if method == "POST" {
        let page = query.strip_prefix("page=")?.parse().ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        return posts.send(Post { page, verb: name.to_owned(), body, stream }).ok();
    }
    let name = if name.is_empty() { "index.html" } else { name };
    let mime = match Path::new(name).extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => "text/plain",
    };
    let is_plain = !name.contains("..") && !name.contains('/');
    match fs::read(site.join(name)) {
        Ok(bytes) if is_plain => respond(&stream, "200 OK", mime, &bytes),
        _ => respond(&stream, "404 Not Found", "text/plain", b""),
    }
    Some(())
}

fn respond(mut stream: &TcpStream, status: &str, mime: &str, body: &[u8]) {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {mime}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // A page that has gone away wants no answer.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ask(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn files_are_served_and_posts_are_handed_on() {
        let (port, posts) = serve(&crate::repository_root().join("web/suites")).unwrap();
        // A connection that says nothing holds up no other.
        let _idle = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(ask(port, "GET / HTTP/1.1\r\n\r\n").contains("<title>Kernel suites</title>"));
        assert!(ask(port, "GET /../README.md HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        let page = std::thread::spawn(move || ask(port, "POST /say?page=3 HTTP/1.1\r\nContent-Length: 4\r\n\r\nok x"));
        let post = posts.recv().unwrap();
        assert_eq!((post.page, post.verb.as_str(), post.body.as_str()), (3, "say", "ok x"));
        post.answer("heard");
        drop(post);
        assert!(page.join().unwrap().ends_with("heard"));
    }
}
