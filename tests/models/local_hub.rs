//! A hub on this machine, as much of it as a client needs: a repository's list, and ranges of its
//! files.
#![allow(dead_code)] // Each test binary uses its part.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use nmos::model::pull::hub::{HuggingFace, Transfer};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

pub struct LocalHub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Content and tag by name.
    files: HashMap<String, (Vec<u8>, String)>,
    cut_at: Mutex<Option<usize>>,
    /// Status and the hub's own code for it.
    refusal: Mutex<Option<(u16, String)>>,
    /// Where files are, if not here.
    elsewhere: Mutex<Option<String>>,
    starts: Mutex<Vec<usize>>,
    /// Lines of all requests' heads, in lower case.
    heads: Mutex<Vec<String>>,
}

impl LocalHub {
    /// Serves files, each with its content and the tag that is declared for it.
    pub fn serve(files: &[(&str, &[u8], &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            files: files
                .iter()
                .map(|(name, bytes, tag)| ((*name).to_owned(), (bytes.to_vec(), (*tag).to_owned())))
                .collect(),
            cut_at: Mutex::default(),
            refusal: Mutex::default(),
            elsewhere: Mutex::default(),
            starts: Mutex::default(),
            heads: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                std::thread::spawn(move || shared.answer(stream));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn client(&self) -> HuggingFace {
        HuggingFace::at(self.url()).with_transfer(Transfer::plain())
    }

    /// The lines of all requests' heads, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// The next transfer breaks off after so many bytes.
    pub fn cut_next_transfer_at(&self, bytes: usize) {
        *self.shared.cut_at.lock().unwrap() = Some(bytes);
    }

    /// From now on files are refused.
    pub fn refuse_files(&self, status: u16, code: &str) {
        *self.shared.refusal.lock().unwrap() = Some((status, code.to_owned()));
    }

    /// From now on files are redirected to another hub by another name, as to a host for large files.
    pub fn redirect_files_to(&self, other: &LocalHub) {
        *self.shared.elsewhere.lock().unwrap() =
            Some(format!("http://localhost:{}", other.address.port()));
    }

    /// The offset at which each transfer began.
    pub fn transfer_starts(&self) -> Vec<usize> {
        self.shared.starts.lock().unwrap().clone()
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        let request = lines.next()?.ok()?;
        self.heads.lock().unwrap().push(request.to_lowercase());
        let path = request.split(' ').nth(1)?.to_owned();
        let mut range = None;
        for line in lines {
            let line = line.ok()?.to_lowercase();
            if let Some(asked) = line.strip_prefix("range: bytes=") {
                range = Some(asked.to_owned());
            }
            if line.is_empty() {
                break;
            }
            self.heads.lock().unwrap().push(line);
        }
        let (head, body) = self.reply(&path, range.as_deref());
        let head = format!("HTTP/1.1 {head}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&body).ok()
    }

    fn reply(&self, path: &str, range: Option<&str>) -> (String, Vec<u8>) {
        if path.starts_with("/api/models/someone/tiny") {
            let names: Vec<_> = self
                .files
                .iter()
                .map(|(name, (bytes, tag))| {
                    // Small files have a shorter tag, and are not kept as large ones.
                    let lfs = match tag.len() {
                        64 => format!(r#","lfs":{{"sha256":"{tag}","size":{}}}"#, bytes.len()),
                        _ => String::new(),
                    };
                    format!(r#"{{"rfilename":"{name}","size":{}{lfs}}}"#, bytes.len())
                })
                .collect();
            let body = format!(r#"{{"siblings":[{}],"sha":"{COMMIT}"}}"#, names.join(","));
            let head = format!("200 OK\r\nContent-Length: {}\r\n", body.len());
            return (head, body.into());
        }
        let files = format!("/someone/tiny/resolve/{COMMIT}/");
        let name = path.strip_prefix(&files);
        if let Some((status, code)) = &*self.refusal.lock().unwrap() {
            let head = format!("{status} No\r\nX-Error-Code: {code}\r\nContent-Length: 0\r\n");
            return (head, Vec::new());
        }
        if let Some(url) = &*self.elsewhere.lock().unwrap() {
            let head = format!("302 Found\r\nLocation: {url}{path}\r\nContent-Length: 0\r\n");
            return (head, Vec::new());
        }
        let Some((bytes, _)) = name.and_then(|name| self.files.get(name)) else {
            return ("404 Not Found\r\nContent-Length: 0\r\n".into(), Vec::new());
        };
        let (start, end) = range.and_then(|r| r.split_once('-')).unwrap();
        let start: usize = start.parse().unwrap();
        let end = end.parse().unwrap_or(bytes.len() - 1);
        let mut body = bytes[start..=end].to_vec();
        let head = format!(
            "206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{end}/{}\r\n\
             X-Repo-Commit: {COMMIT}\r\n",
            body.len(),
            bytes.len()
        );
        self.starts.lock().unwrap().push(start);
        if let Some(cut) = self.cut_at.lock().unwrap().take() {
            body.truncate(cut);
        }
        (head, body)
    }
}
