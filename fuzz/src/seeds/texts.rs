//! Seeds that are texts, and those that are made here.

use std::fs;

use anyhow::Result;
use descry::archive::{KeyframeRow, TextRow};
use descry::fuzzing::table_of;

use super::Seed;
use crate::scratch::scratch_folder;

/// The texts of a target.
pub(super) fn of(target: &str) -> Vec<Seed> {
    let texts: &[&str] = match target {
        "answer" => &ANSWERS,
        "listing" => &LISTINGS,
        "record" => &RECORDS,
        "part" => &PARTS,
        "review" => &REVIEWS,
        "address" => &ADDRESSES,
        "config" => &CONFIGS,
        "defaults" => &DEFAULTS,
        "http" => &REQUESTS,
        "vtt" => &CUES,
        "dialogue" => &SUBTITLES,
        _ => &[],
    };
    texts.iter().enumerate().map(|(n, text)| (format!("text-{n}"), text.as_bytes().to_vec())).collect()
}

const ANSWERS: [&str; 12] = [
    "The image shows a dog running on a beach.",
    "<think>Let me look.</think>\n\n**A man** rides a *bicycle* down a street. He wears a helmet.",
    "I'm sorry, but I can't help with identifying people in this image.",
    "Sure! Here is a description:\n\n\"Two children play in the snow.\"",
    "1. A red car\n2. A blue car\n- parked in front of St. Mary's, e.g. at 5 p.m.",
    "```\nA cat sits on a sofa.\n```",
    "In this picture, we can see Mr. Smith… who waves!</s><|im_end|>",
    "«Ein Hund» läuft – am Strand。雪の中で遊ぶ犬！",
    r#"{"choices":[{"message":{"role":"assistant","content":"A dog runs."},"finish_reason":"stop"}],"usage":{"total_tokens":9}}"#,
    r#"{"choices":[{"message":{"content":[{"type":"text","text":"A dog"},{"type":"text","text":" runs."}],"refusal":null}}]}"#,
    r#"{"choices":[{"message":{"content":null,"refusal":"I can't do that."},"finish_reason":"content_filter"}]}"#,
    r#"{"error":{"message":"model 'x' not found at http://u:p@h/?key=v","code":"content_policy_violation","type":"invalid_request_error"}}"#,
];

/// Listings of the hub.
const LISTINGS: [&str; 4] = [
    r#"{"sha":"0123456789abcdef0123456789abcdef01234567","cardData":{"license":"mit"},"siblings":[{"rfilename":"config.json","size":7,"blobId":"ce013625030ba8dba906f756967f9e9ca394464a"},{"rfilename":"tokenizer.json","size":9},{"rfilename":"onnx/vision_model.onnx"},{"rfilename":"onnx/text_model.onnx","size":9,"lfs":{"sha256":"88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589","size":9,"pointerSize":3}}]}"#,
    r#"{"sha":"0123456789abcdef0123456789abcdef01234567","siblings":[{"rfilename":"config.json"},{"rfilename":"onnx/vision_encoder.onnx"},{"rfilename":"onnx/embed_tokens.onnx"},{"rfilename":"onnx/decoder_model_merged.onnx"},{"rfilename":"onnx/decoder_model_merged.onnx_data"},{"rfilename":"onnx/vision_encoder_q4.onnx"},{"rfilename":"onnx/vision_encoder.onnx_data/../../x"},{"rfilename":"/etc/passwd"},{"rfilename":"..\\x"}]}"#,
    r#"{"sha":"main","siblings":null}"#,
    r#"{"sha":"0123456789abcdef0123456789abcdef01234567","cardData":[],"siblings":[{"rfilename":"config.json","size":99999999999999999},{"rfilename":"onnx/vision_model_int8.onnx"},{"rfilename":"onnx/text_model_int8.onnx"},{"rfilename":"onnx/text_model_int8.onnx.data","size":1,"lfs":{"sha256":null}}]}"#,
];

const RECORDS: [&str; 5] = [
    r#"{"format":"descry-archive/1","video":"/films/a.mp4","source":{"size":9,"mtime_ns":-1},"state":"0000000000000002","model":"m 1","model_hash":"ab","options":{"a":[1,2.5,null]},"duration_ms":1000,"keyframes":1,"cues":1,"damage":null,"files":{"keyframes.parquet":{"bytes":4,"sha256":"88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"}}}"#,
    r#"{"format":"descry-archive/1","video":"a","source":{"etag":"x","modified":"y"},"state":"2","model":"","model_hash":"","options":null,"duration_ms":null,"keyframes":0,"cues":0,"damage":"2 broken packets","files":{"../../../../outside":{"bytes":1,"sha256":""},"/etc/passwd":{"bytes":2,"sha256":""},"thumbnails/000000123.jpg":{"bytes":3,"sha256":""}}}"#,
    r#"{"format":"descry-archive/1","video":"a","source":{},"state":"ffffffffffffffff","attempts":3,"cause":"no such file","remedy":"Copy it again."}"#,
    "0a00000000000001.ffffffffffffffff",
    "{}",
];

/// Two bytes for the length of the blobs, the blobs, the footer.
const REVIEWS: [&str; 4] = [
    r#"{"descry_review":1,"film":{"name":"film.mp4","duration":60.0},"source":{"kind":"described","model":"m 1","state":"0000000000000001"},"language":"en","revision":2,"next_id":4,"cues":[{"id":1,"start":0.0,"end":2.0,"text":"A dog\nruns.","checked":true,"note":"who?","version":1,"machine":{"start":0.0,"end":2.0,"text":"A dog.","scene":0}},{"id":3,"start":2.0,"end":4.0,"text":"A cat."}],"deleted":[{"id":2,"start":4.0,"end":6.0,"text":"A cow.","version":2,"machine":{"start":4.0,"end":6.0,"text":"A cow.","scene":1}}],"glossary":[{"term":"Rex","note":"the dog"}],"notes":"n","timeline":{"scenes":[{"start":0.0,"end":4.0,"keyframe":1.0,"transition":"start","text":"a dog","score":0.5,"said":true},{"start":4.0,"end":6.0,"keyframe":5.0,"transition":"cut","text":null,"score":null,"said":false}],"speech":[{"start":1.0,"end":2.0}],"text":[{"start":0.0,"end":1.0,"text":"REX","kind":"title"}]},"history":[{"revision":1,"time":"2026-01-01T00:00:00Z","who":"ann","what":"edit","before":{"cues":[]},"after":{"cues":[]}},{"revision":2,"time":"2026-01-01T00:01:00Z","since":"2026-01-01T00:00:30Z","who":"","what":"delete","before":{},"after":{"glossary":[],"notes":""},"of":1}],"forgotten":1}"#,
    r#"{"descry_review":1,"film":{"name":""},"source":{"kind":"file","name":"a.vtt","sha256":"00"},"language":"","revision":0,"next_id":2147483648,"cues":[{"id":2147483647,"start":3599999.0,"end":3600000.0,"text":""}],"timeline":{}}"#,
    r#"{"model":"m 1","language":"de","scenes":[{"start":0.0,"end":4.0,"keyframe":1.0,"transition":"start","text":"ein hund","score":0.5,"said":true}],"cues":[{"start":0.0,"end":4.0,"text":"Ein Hund.","lines":["Ein Hund."]}],"speech":{"source":"audio","segments":[{"start":1.0,"end":2.0}],"dialogue":null},"text":[{"text":"REX","start":0.0,"end":1.0,"box":{"x":0.1,"y":0.1,"width":0.5,"height":0.1},"confidence":0.9,"kind":"title"}]}"#,
    r#"{"model":"","scenes":[{"start":-1.0,"end":-3600000.0,"keyframe":1e300,"transition":"","text":null,"score":1e300,"said":true}],"cues":[]}"#,
];

const PARTS: [&str; 4] = [
    "\x08\0\0\0\0?\0\0\0@{\"part\":[1,2],\"film\":{\"input\":\"a\"},\"watching\":{\"marks\":[{\"time\":1000000,\"frame\":25,\"scene\":0,\"told\":0,\"digest\":\"ab\",\"losses\":0}],\"losses\":0,\"finished\":2000000,\"empty\":null,\"timeless\":null},\"keyframes\":[{\"scene\":0,\"start\":0,\"end\":1000000,\"time\":400000,\"index\":10,\"start_frame\":0,\"end_frame\":25,\"transition\":\"start\",\"blank\":false,\"quality\":1065353216,\"embedding\":[14,2],\"grid\":[14,1],\"thumbnail\":[14,8],\"caption\":{\"text\":\"A dog.\",\"ids\":[1,-2],\"mean_logprob\":3212836864,\"score\":1056964608},\"fault\":null}]}",
    "\0\0{\"part\":[1,1],\"film\":null,\"watching\":{\"marks\":[],\"losses\":3,\"finished\":null,\"empty\":\"nothing\",\"timeless\":\"no clock\"},\"keyframes\":[]}",
    "\x01\0x{\"part\":[4294967295,0],\"film\":[],\"watching\":{\"marks\":[],\"losses\":0,\"finished\":null,\"empty\":null,\"timeless\":null},\"keyframes\":[{\"scene\":4294967295,\"start\":-9223372036854775808,\"end\":9223372036854775807,\"time\":0,\"index\":18446744073709551615,\"start_frame\":0,\"end_frame\":0,\"transition\":\"gap\",\"blank\":true,\"quality\":0,\"embedding\":[0,4611686018427387904],\"grid\":[18446744073709551615,1],\"thumbnail\":null,\"caption\":null,\"fault\":\"the server is down\"}]}",
    "",
];

const ADDRESSES: [&str; 16] = [
    "rtsp://admin:S3cr3tW0rd@cam/one",
    "rtsp://a:p/S3cr3tW0rd@cam:554/one?x#y",
    "https://cam/live.m3u8?token=S3cr3tW0rd&b=c#d",
    "srt://cam:9000?passphrase=S3cr3tW0rd&mode=caller",
    "RTSP://u:S3cr3tW0rd@[::1]:554/x",
    "http://u%40h:S3cr3tW0rd@h/a%20b",
    "http://h/?a=b?c=S3cr3tW0rd",
    "http://h/x;y=z?&&=&a&S3cr3tW0rd",
    "s3://bucket/key?x=S3cr3tW0rd",
    "rtmp://h/app/stream?auth=S3cr3tW0rd&x",
    "http://h/a?u=http://v:S3cr3tW0rd@w/",
    "https://h\\@u:S3cr3tW0rd@i/",
    "http:/u:S3cr3tW0rd@h/",
    "/dev/video0",
    "a://b://c:S3cr3tW0rd@d",
    "http://u:S3cr3tW0rd@h?x#@y",
];

const CONFIGS: [&str; 6] = [
    include_str!("../../../examples/service/streams.toml"),
    "max_gap = 8\nmin_interval = 0.5\nhang = 30\nsilence = 3\nevery = 60\ncontext = 3\nlanguage = 'en'\n[[stream]]\nname = 'door'\n\
     url = 'rtsp://u:S3cr3tW0rd@cam/door'\ntransport = 'udp'\nrealtime = true\ndecode_threads = 2\nprompt = 'Who?'\n",
    "[[stream]]\nurl = \"rtsp://u:S3cr3tW0rd@cam/a\n[[stream]]\nurl = 3\n",
    "[[stream]]\nurl = 'rtsp://h/x'\n[outputs]\nhttp = '0.0.0.0:8080'\nhttp_token = 'S3cr3tW0rd'\nwebhook = ['https://h/S3cr3tW0rd']\n\
     webhook_token = 'S3cr3tW0rd'\ncommand = [['espeak-ng', '--stdin']]\nvtt_rotate = '10M'\nvtt_keep = 3\nhls = 'hls'\nhls_window = 5\n",
    "realtime = true\n[[stream]]\nurl = 'film.mp4'\n[[stream]]\nurl = 'film.mp4'\n[[stream]]\nurl = 'https://h/x.m3u8?key=S3cr3tW0rd'\n",
    "[[stream]]\nurl = 'srt://h:9000?passphrase=S3cr3tW0rd'\nsilence = nan\nmax_gap = inf\nevery = -1\n",
];

/// A project's `descry.toml`.
const DEFAULTS: [&str; 7] = [
    "[common]\nbeam = 3\nmax-line = 37\nverbose = 1\n[describe]\nformat = ['vtt', 'json']\nmax-gap = '0:06'\ntext = true\n",
    "[describe]\nbeam = 3\ngreedy = true\n",
    "[common]\nmodel = 'smolvlm2-256m'\nprompt = 'Who?'\nmin-score = 0.5\n[speak]\nduck = 9\n[model.pull]\nprecision = 'q4'\n",
    "[live]\nwebhook = 'http://u:S3cr3tW0rd@h/x'\ncommand = 'rm -rf /'\n",
    "[common]\nmodel = 'openai:http://u:S3cr3tW0rd@h/v1'\n",
    "[common]\nnotes = '/etc/passwd'\n[describe]\nisolate = false\noutput = '/etc/x'\n",
    "[describe]\nbatch = 'http://u:S3cr3tW0rd@h/x'\n[unknown.table]\nbeem = {a = [1, 2]}\n",
];

/// The first byte chooses the server: that with a token is odd.
const REQUESTS: [&str; 14] = [
    "0GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "0GET /status HTTP/1.1\r\nHost: localhost:80\r\nAccept: */*\r\n\r\n",
    "0HEAD /metrics HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    "0GET /events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 3\r\n\r\n",
    "0GET /keyframe/0.jpg HTTP/1.0\r\nHost: localhost\r\n\r\n",
    "0POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
    "0GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "0GET /page.js HTTP/1.1\r\nHost: evil.example\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "1GET /?token=0123456789abcdefTOKEN HTTP/1.1\r\nHost: x\r\n\r\n",
    "1GET /status HTTP/1.1\r\nAuthorization: Bearer 0123456789abcdefTOKEN\r\n\r\n",
    "1HEAD /events HTTP/1.1\r\nAuthorization: bearer 0123456789abcdefTOKEN\r\nCookie: descry_1=2; a=b\r\n\r\n",
    "1GET /status HTTP/1.1\r\nCookie: descry_80=abc\r\n\r\n",
    "1GET /icon.svg HTTP/1.1\r\nHost: a\r\nHost: b\r\nExpect: 100-continue\r\nUpgrade: websocket\r\n\r\n",
    "1PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

const CUES: [&str; 9] = [
    "",
    "WEBVTT\n",
    "WEBVTT\n\nNOTE x\n\n00:00:01.000 --> 01:00:02.500\nA dog.\n",
    "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nA dog.\n\n00:00:03.000 --> 00:00:05.0",
    "WEBVTT\n\n99:59:59.999 --> 2562047788:00:54.775\nA dog.\n",
    "WEBVTT\n\n00:01.000 --> 00:02.000 align:start\nx --> y\n\n\n\n",
    "WEBVTT - title\n\n1\n00:00.000 --> 00:01.000\n<v Bob>Hi\n",
    "WEBVTT\r\n\r\n00:00:01.000 --> 00:00:02.000\r\nA\r\n",
    "mine",
];

const SUBTITLES: [&str; 6] = [
    "1\n00:00:01,000 --> 00:00:02,500\nHello.\n\n2\n00:00:04,000 --> 00:00:05,250\n<i>Who?</i>\n\n",
    "\u{feff}1\r\n00:00:01,000 --> 00:00:02,500 X1:1 X2:2 Y1:3 Y2:4\r\n{\\an8}Hello.\r\n\r\n",
    "WEBVTT\n\nSTYLE\n::cue{}\n\nx\n00:01.000 --> 00:02.500 line:0\n<v Bob>Hello.</v>\n\n01:00:04.000 --> 01:00:05.250\nA\n",
    "[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Text\nDialogue: 0,0:00:04.00,0:00:05.25,D,{\\p1}m 0 0{\\p0}A\n",
    "1\n00:00:05,000 --> 00:00:03,000\nA\n",
    "Dialogue: 0,0:00:04.00,0:00:03.25,A\n00:01 --> 99999999999999999999:00\n",
];

/// Tables of keyframes: none, a few, and several row groups' worth of them.
pub(super) fn tables() -> Result<Vec<Seed>> {
    let row = |n: usize, dimension: usize| KeyframeRow {
        video: format!("/films/{}.mp4", n / 5).into(),
        start_ms: n as i64 * 1_000,
        end_ms: n as i64 * 1_000 + 1_000,
        keyframe_ms: n as i64 * 1_000 + 400,
        scene: n as i32 + 1,
        transition: ["start", "cut", "fade", "gap"][n % 4].into(),
        caption: (!n.is_multiple_of(3)).then(|| format!("A dog number {n} runs")),
        said: n.is_multiple_of(2),
        score: (!n.is_multiple_of(5)).then_some(n as f32 / 100.0),
        mean_logprob: None,
        repeats: n.is_multiple_of(7),
        speech: n.is_multiple_of(4).then_some(0.5),
        text: n.is_multiple_of(3).then(|| {
            let line = |line: usize| TextRow {
                text: format!("LINE {line}"),
                start_ms: n as i64 * 1_000,
                end_ms: n as i64 * 1_000 + 500,
                x: 0.1,
                y: 0.2,
                width: 0.5,
                height: 0.1,
                confidence: 0.9,
                kind: "title".into(),
            };
            (0..n % 5).map(line).collect()
        }),
        thumbnail: Some(format!("videos/0a/x/thumbnails/{n:09}.jpg")),
        model: "m 1".into(),
        model_hash: "ab".into(),
        embedding: (0..dimension).map(|i| (i + n) as f32).collect(),
    };
    let shapes = [(0, 4), (1, 1), (7, 3), (40, 8), (300, 2)];
    let tables = shapes.map(|(rows, dimension)| {
        let table = table_of((0..rows).map(|n| row(n, dimension)).collect(), dimension)?;
        Ok((format!("{rows}-of-{dimension}.parquet"), table))
    });
    tables.into_iter().collect()
}

/// Databases that are not descry's: other tables, and what runs when a table is read. Each behind the byte that chooses the
/// database among the files of an index.
pub(super) fn foreign_databases() -> Result<Vec<Seed>> {
    let statements = [
        "CREATE TABLE other (a)",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID; INSERT INTO meta VALUES ('format', 'descry-search/1'),
             ('generation', 0);
         CREATE VIEW videos AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
             SELECT i AS id, i AS key, 1 AS state, 'x' AS name, 1 AS model, 1 AS keyframes FROM n;
         CREATE VIEW models AS SELECT 1 AS id, 'same' AS hash, 'm' AS name, 8 AS width;
         CREATE TABLE segments (name TEXT PRIMARY KEY, model INTEGER, keyframes INTEGER) WITHOUT ROWID;
         CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT);
         CREATE TRIGGER t AFTER UPDATE ON meta BEGIN DELETE FROM texts; END;",
    ];
    let place = crate::targets::archive::index_files().iter().position(|(name, _)| name == "index.sqlite").unwrap_or(0);
    let mut seeds = Vec::new();
    for (n, text) in statements.iter().enumerate() {
        let path = scratch_folder().join(format!("foreign-{n}.sqlite"));
        let _ = fs::remove_file(&path);
        rusqlite::Connection::open(&path)?.execute_batch(text)?;
        seeds.push((format!("foreign-{n}.sqlite"), [&[place as u8], &fs::read(&path)?[..]].concat()));
    }
    Ok(seeds)
}
