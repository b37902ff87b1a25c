//! A hub on this machine, as much of it as a client needs: list, describe, fetch with a range.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nmos::model::pull::hub::HuggingFace;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

pub struct LocalHub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Content and tag by name.
    files: HashMap<String, (Vec<u8>, String)>,
    cut_at: Mutex<Option<usize>>,
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
        HuggingFace::at(self.url(), Duration::from_secs(8))
    }

    /// The lines of all requests' heads, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// The next transfer breaks off after so many bytes.
    pub fn cut_next_transfer_at(&self, bytes: usize) {
        *self.shared.cut_at.lock().unwrap() = Some(bytes);
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
                .keys()
                .map(|name| format!(r#"{{"rfilename":"{name}"}}"#))
                .collect();
            let body = format!(r#"{{"siblings":[{}],"sha":"{COMMIT}"}}"#, names.join(","));
            let head = format!("200 OK\r\nContent-Length: {}\r\n", body.len());
            return (head, body.into());
        }
        let name = path.strip_prefix("/someone/tiny/resolve/main/");
        let Some((bytes, tag)) = name.and_then(|name| self.files.get(name)) else {
            return ("404 Not Found\r\nContent-Length: 0\r\n".into(), Vec::new());
        };
        let (start, end) = range.and_then(|r| r.split_once('-')).unwrap();
        let start: usize = start.parse().unwrap();
        let end = end.parse().unwrap_or(bytes.len() - 1);
        let mut body = bytes[start..=end].to_vec();
        let head = format!(
            "206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{end}/{}\r\n\
             ETag: \"weak\"\r\nX-Linked-Etag: \"{tag}\"\r\nX-Repo-Commit: {COMMIT}\r\n",
            body.len(),
            bytes.len()
        );
        if end > 0 {
            self.starts.lock().unwrap().push(start);
            if let Some(cut) = self.cut_at.lock().unwrap().take() {
                body.truncate(cut);
            }
        }
        (head, body)
    }
}
