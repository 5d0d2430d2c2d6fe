//! A server of models that misbehaves on request: it speaks OpenAI's chat completions, or something else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The request line and the headers.
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Asked {
    /// The picture, read back from its data URL.
    pub(crate) fn picture(&self) -> image::RgbImage {
        let url = self.body["messages"][0]["content"][0]["image_url"]["url"].as_str().expect("a data URL");
        let data = url.strip_prefix("data:image/jpeg;base64,").expect("a JPEG");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).expect("a JPEG").into_rgb8()
    }
}

/// What the server does with a request.
pub(crate) enum Reply {
    /// Status line after the version, further headers, body.
    Http(&'static str, String, String),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// The connection is closed without an answer.
    Close,
}

impl Reply {
    /// A model that writes this.
    pub(crate) fn text(text: &str) -> Reply {
        let choice =
            json!({ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" });
        Reply::json("200 OK", &json!({ "object": "chat.completion", "choices": [choice] }))
    }

    pub(crate) fn json(status: &'static str, body: &Value) -> Reply {
        Reply::Http(status, "Content-Type: application/json\r\n".into(), body.to_string())
    }
}

type Answer = dyn Fn(usize, &Asked) -> Reply + Send + Sync;

/// A server on a port of this machine, until it is dropped.
pub(crate) struct ModelServer {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Most requests at the same time.
    most: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    accept: Option<JoinHandle<()>>,
}

impl ModelServer {
    /// `answer` gets the number of the request, from 0.
    pub(crate) fn new(answer: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> ModelServer {
        ModelServer::at(0, answer)
    }

    pub(crate) fn at(port: u16, answer: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> ModelServer {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let port = listener.local_addr().expect("a port").port();
        let answer: Arc<Answer> = Arc::new(answer);
        let (asked, most, stop) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicUsize>::default(), Arc::default());
        let (into, highest, stopped): (_, _, Arc<AtomicBool>) = (asked.clone(), most.clone(), Arc::clone(&stop));
        let accept = std::thread::spawn(move || {
            let now = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (answer, into, highest, now) = (answer.clone(), into.clone(), highest.clone(), now.clone());
                std::thread::spawn(move || {
                    let counted = |number: usize, asked: &Asked| {
                        highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let reply = answer(number, asked);
                        // Before the client has the answer and asks again.
                        now.fetch_sub(1, Ordering::SeqCst);
                        reply
                    };
                    let _ = serve(stream, &counted, &into);
                });
            }
        });
        ModelServer { port, asked, most, stop, accept: Some(accept) }
    }

    /// What `--model` takes.
    pub(crate) fn model(&self) -> String {
        format!("openai:http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &dyn Fn(usize, &Asked) -> Reply,
    asked: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let request = Asked { head, body: serde_json::from_slice(&body).unwrap_or_default() };
    let number = {
        let mut all = asked.lock().expect("no panic");
        all.push(request.clone());
        all.len() - 1
    };
    match answer(number, &request) {
        Reply::Http(status, headers, body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        }
        Reply::Raw(bytes) => stream.write_all(&bytes),
        Reply::Close => Ok(()),
    }
}
