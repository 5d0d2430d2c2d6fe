//! An independent S3 server, and a proxy in front of it that counts fetched bytes and fails on demand.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::common::root;

/// Credentials in the environment. No output may contain them.
pub(crate) const KEY: &str = "AKIAQUITEPUBLIC7";
pub(crate) const SECRET: &str = "sesame/open+0123456789";

/// The proxy's modes: it forwards everything, closes every connection, or forwards nothing and closes nothing.
pub(crate) const PASS: u8 = 0;
pub(crate) const REFUSE: u8 = 1;
pub(crate) const STALL: u8 = 2;

pub(crate) struct Server {
    child: Child,
    direct: u16,
    /// The port on which the proxy listens.
    pub port: u16,
    fetched: Arc<AtomicU64>,
    mode: Arc<AtomicU8>,
}

impl Server {
    pub(crate) fn new() -> Server {
        let direct = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(root().join("vendor/venv/bin/python"))
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &direct.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Python is missing: run make setup-test");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", direct)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the S3 server does not start: run tools/setup.sh test"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fetched, mode) = (Arc::<AtomicU64>::default(), Arc::<AtomicU8>::default());
        let (count, shared) = (fetched.clone(), mode.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", direct)) else { continue };
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (a, b) = (shared.clone(), shared.clone());
                let count = count.clone();
                std::thread::spawn(move || pass(up, down, &a, &AtomicU64::new(0)));
                std::thread::spawn(move || pass(server, client, &b, &count));
            }
        });
        Server { child, direct, port, fetched, mode }
    }

    /// The bytes that clients have received since the last call.
    pub(crate) fn fetched(&self) -> u64 {
        self.fetched.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    /// Makes a bucket or an object, without the proxy.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let url = format!("http://127.0.0.1:{}/{path}", self.direct);
        // The server requires a signature, but does not verify it.
        let signed =
            "AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        ureq::put(&url).header("Authorization", signed).send(bytes).unwrap_or_else(|e| panic!("{url}: {e}"));
    }

    /// Sets the server's address and the credentials in the environment.
    pub(crate) fn configure(&self, command: &mut Command) {
        command
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
    }

    /// Copies everything below a prefix into a folder, with the AWS client.
    pub(crate) fn mirror(&self, bucket: &str, prefix: &str, folder: &std::path::Path) {
        let script = "import boto3, os, sys\n\
            url, bucket, prefix, folder = sys.argv[1:]\n\
            s3 = boto3.client('s3', endpoint_url=url, region_name='eu-central-1', aws_access_key_id='x', aws_secret_access_key='y')\n\
            for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket, Prefix=prefix + '/'):\n\
            \x20   for o in page.get('Contents', []):\n\
            \x20       to = os.path.join(folder, o['Key'][len(prefix) + 1:])\n\
            \x20       os.makedirs(os.path.dirname(to), exist_ok=True)\n\
            \x20       s3.download_file(bucket, o['Key'], to)\n";
        std::fs::create_dir_all(folder).unwrap();
        let out = Command::new(root().join("vendor/venv/bin/python"))
            .args(["-c", script, &format!("http://127.0.0.1:{}", self.direct), bucket, prefix])
            .arg(folder)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8, count: &AtomicU64) {
    let mut block = vec![0; 64 << 10];
    while let Ok(n) = from.read(&mut block) {
        while mode.load(Ordering::SeqCst) == STALL {
            std::thread::sleep(Duration::from_millis(20));
        }
        if n == 0 || mode.load(Ordering::SeqCst) == REFUSE || to.write_all(&block[..n]).is_err() {
            break;
        }
        count.fetch_add(n as u64, Ordering::SeqCst);
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
