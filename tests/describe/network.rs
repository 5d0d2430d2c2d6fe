//! What an input leads to: other files, other hosts, and servers that must prove who they are.
//!
//! Every server of these tests is on a loopback address, which an input may reach only where the test names it.

use crate::common::tls::{Authority, Certificate, Front};
use crate::common::web::{Web, header, moved, path};
use crate::common::{Bench, TINY, root};
use crate::streams::{cues, run};

/// A film of 6 s with three scenes.
fn film(b: &Bench) {
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=192x108:rate=25:duration=3 -f lavfi -i rgbtestsrc=size=192x108:rate=25:duration=3 \
         -filter_complex [0]format=yuv420p[a];[1]format=yuv420p[b];[a][b]concat -c:v libx264 -g 25 -movflags +faststart \
         film.mp4",
    );
}

/// The film as a playlist `list.m3u8`, with more options of FFmpeg.
fn playlist(b: &Bench, options: &str) {
    b.ffmpeg(&format!("-i film.mp4 -c copy -f hls -hls_time 2 -hls_list_size 0 {options} list.m3u8"));
}

fn list(entry: &str) -> String {
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{entry}\n#EXT-X-ENDLIST\n")
}

/// A presentation of DASH whose one segment is `entry`.
fn presentation(entry: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
         profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\" mediaPresentationDuration=\"PT6S\"><Period>\
         <AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1\"><BaseURL>{entry}</BaseURL>\
         </Representation></AdaptationSet></Period></MPD>"
    )
}

/// The descriptions of the film, as the file itself gives them.
fn want(b: &Bench) -> String {
    let (want, _) = run(b, &["describe", "film.mp4", "-o", "-"], 0);
    assert!(cues(&want).len() >= 2, "{want}");
    want
}

#[test]
fn a_file_leads_to_no_other_file() {
    let b = Bench::new();
    film(&b);
    b.ffmpeg("-i film.mp4 -c copy film.ts");
    let (film, segment) = (b.path("film.mp4").display().to_string(), b.path("film.ts").display().to_string());
    for (content, format) in [
        (list("film.ts"), "hls"),
        (list(&segment), "hls"),
        (list(&format!("file://{segment}")), "hls"),
        (list(&format!("concat:{segment}|{segment}")), "hls"),
        (list(&format!("subfile,,start,0,end,0,,:{segment}")), "hls"),
        (list(&format!("crypto+file://{segment}")), "hls"),
        (format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{segment}\n"), "hls"),
        (presentation("film.mp4"), "dash"),
        (presentation(&film), "dash"),
        ("ffconcat version 1.0\nfile film.mp4\n".into(), "concat"),
        (format!("ffconcat version 1.0\nfile '{film}'\n"), "concat"),
        ("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n".into(), "sdp"),
    ] {
        b.write("holiday.mp4", content.as_bytes());
        let (out, err) = run(&b, &["describe", "holiday.mp4", "-o", "-"], 1);
        assert!(out.is_empty(), "{content}\n{out}");
        assert!(err.contains("holiday.mp4: its format is ") && err.contains(format), "{content}\n{err}");
        let (out, _) = b.run(&["probe", "holiday.mp4"], 1);
        assert!(out.is_empty(), "{content}\n{out}");
        run(&b, &["index", "holiday.mp4", "--into", "archive", "--retry-failed"], 1);
    }
    assert!(b.run(&["archive", "list", "archive"], 0).0.is_empty());
    // A picture whose name is a pattern is one picture.
    b.ffmpeg("-i film.mp4 -frames:v 1 -update 1 1.png");
    std::fs::copy(b.path("1.png"), b.path("2.png")).unwrap();
    std::fs::copy(b.path("1.png"), b.path("%d.png")).unwrap();
    let (out, _) = b.run(&["probe", "%d.png", "--json"], 0);
    assert!(!out.contains("\"duration\":0.08"), "{out}");
}

#[test]
fn a_web_server_leads_to_no_file() {
    let b = Bench::new();
    film(&b);
    b.ffmpeg("-i film.mp4 -c copy film.ts");
    let (film, segment) = (b.path("film.mp4").display().to_string(), b.path("film.ts").display().to_string());
    // The server has none of the films.
    std::fs::create_dir(b.path("served")).unwrap();
    let web = Web::with(b.path("served"), {
        let film = film.clone();
        move |request| (path(request) == "moved.mp4").then(|| moved(&format!("file://{film}")))
    });
    let mut contents = vec![
        presentation(&format!("file://{film}")),
        format!("ffconcat version 1.0\nfile 'file:{film}'\n"),
        format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile://{segment}\n"),
        list("film.ts").replace("#EXTINF", &format!("#EXT-X-MAP:URI=\"file://{film}\"\n#EXTINF")),
    ];
    let entries =
        ["file://SEGMENT", "file:SEGMENT", "crypto+file://SEGMENT", "crypto:SEGMENT", "concat:SEGMENT|SEGMENT"];
    let more = ["subfile,,start,0,end,0,,:SEGMENT", "cache:SEGMENT", "async:file:SEGMENT", "unix:SEGMENT"];
    contents.extend(entries.iter().chain(&more).map(|entry| list(&entry.replace("SEGMENT", &segment))));
    for content in contents {
        b.write("served/holiday.m3u8", content.as_bytes());
        for more in [&[][..], &["--allow-private"]] {
            let (out, err) = run(&b, &[&["describe", &web.url("holiday.m3u8"), "-o", "-"], more].concat(), 1);
            assert!(out.is_empty(), "{content}\n{out}");
            if content.contains("\nfile://") {
                assert!(err.contains("it leads to"), "{content}\n{err}");
            }
        }
    }
    let (out, err) = run(&b, &["describe", &web.url("moved.mp4"), "-o", "-", "--allow-private"], 1);
    assert!(out.is_empty() && err.contains("it leads to an address of file:"), "{err}");
}

#[test]
fn only_the_named_server_may_be_private() {
    let b = Bench::new();
    film(&b);
    b.ffmpeg("-i film.mp4 -c copy film.ts");
    let want = want(&b);
    let inner = Web::new(b.path(""));
    let (film, segment, port) = (inner.url("film.mp4"), inner.url("film.ts"), inner.port);
    b.write("list.m3u8", list(&segment).as_bytes());
    b.write("inner.m3u8", list("film.ts").as_bytes());
    b.write(
        "variants.m3u8",
        format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{}\n", inner.url("inner.m3u8")).as_bytes(),
    );
    b.write("names.m3u8", list(&format!("http://localhost:{port}/film.ts")).as_bytes());
    b.write("mapped.m3u8", list(&format!("http://[::ffff:127.0.0.1]:{port}/film.ts")).as_bytes());
    b.write("decimal.m3u8", list(&format!("http://2130706433:{port}/film.ts")).as_bytes());
    let outer = Web::with(b.path(""), move |request| match path(request) {
        "moved.mp4" => Some(moved(&film)),
        "twice.mp4" => Some(moved("/moved.mp4")),
        "moved.ts" => Some(moved(&segment)),
        _ => None,
    });
    b.write("moves.m3u8", list("moved.ts").as_bytes());
    for name in [
        "moved.mp4",
        "twice.mp4",
        "list.m3u8",
        "variants.m3u8",
        "names.m3u8",
        "mapped.m3u8",
        "decimal.m3u8",
        "moves.m3u8",
    ] {
        let url = outer.url(name);
        let (out, err) = run(&b, &["describe", &url, "-o", "-"], 1);
        assert!(
            out.is_empty() && err.contains("it leads to ") && err.contains("--allow-private"),
            "{name}\n{out}\n{err}"
        );
        let (_, err) = b.run(&["probe", &url], 1);
        assert!(err.contains("it leads to "), "{name}: {err}");
        run(&b, &["index", &url, "--into", "archive", "--retry-failed"], 1);
        assert!(inner.requests().is_empty(), "{name}");
        // There may be no way from a mapped address.
        if name != "mapped.m3u8" {
            let (out, err) = run(&b, &["describe", &url, "-o", "-", "--allow-private"], 0);
            assert_eq!(cues(&out), cues(&want), "{name}\n{out}\n{err}");
            assert!(!inner.requests().is_empty(), "{name}");
        }
    }
    // The same server under the name that the user gave it.
    b.write("own.m3u8", list(&outer.url("film.ts")).as_bytes());
    for name in ["own.m3u8", "inner.m3u8"] {
        let (out, _) = run(&b, &["describe", &outer.url(name), "-o", "-"], 0);
        assert_eq!(cues(&out), cues(&want), "{name}");
    }
}

#[test]
fn playlists_of_every_kind_are_described() {
    let b = Bench::new();
    film(&b);
    let want = want(&b);
    let key: Vec<u8> = (0..16).collect();
    b.write("key.bin", &key);
    b.write("key.txt", b"key.bin\nkey.bin\n");
    for options in [
        "",
        "-hls_key_info_file key.txt",
        "-hls_segment_type fmp4",
        "-hls_segment_type fmp4 -hls_flags single_file",
        "-hls_flags single_file",
    ] {
        playlist(&b, options);
        served(&b, "list.m3u8", &want, options);
    }
    for options in ["-use_timeline 1", "-use_timeline 0", "-single_file 1", "-dash_segment_type mp4 -use_template 0"] {
        b.ffmpeg(&format!("-i film.mp4 -c copy -f dash -seg_duration 2 {options} list.mpd"));
        served(&b, "list.mpd", &want, options);
    }
    // One file, as many sites have it.
    b.write("list.mpd", presentation("film.mp4").as_bytes());
    served(&b, "list.mpd", &want, "one file");
}

/// Describes what a server has that wants a cookie, and that keeps everything elsewhere than it is asked for.
fn served(b: &Bench, list: &'static str, want: &str, what: &str) {
    let folder = b.path("");
    let web = Web::with(b.path(""), move |request| {
        let name = path(request);
        if name == "start" {
            return Some(
                moved(&format!("/deep/{list}")).replace("Content", "Set-Cookie: pass=sesame; Path=/\r\nContent"),
            );
        }
        if header(request, "cookie") != Some("pass=sesame") {
            return Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".into());
        }
        let inner = name.strip_prefix("deep/")?;
        if inner != list {
            return Some(moved(&format!("/{inner}")));
        }
        let text = std::fs::read_to_string(folder.join(inner)).unwrap();
        Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()))
    });
    let (out, err) = run(b, &["describe", &web.url("start"), "-o", "-"], 0);
    assert_eq!(cues(&out), cues(want), "{what}\n{out}\n{err}");
}

#[test]
fn servers_must_prove_who_they_are() {
    let b = Bench::new();
    film(&b);
    playlist(&b, "");
    let want = want(&b);
    let authority = Authority::new(&b);
    let ca = authority.pem.display().to_string();
    let web = Web::new(b.path(""));
    let good = Front::new(&authority, Certificate::Good, web.port);
    let at = |front: &Front, name: &str| format!("https://localhost:{}/{name}", front.port);
    for name in ["film.mp4", "list.m3u8"] {
        let (out, _) = run(&b, &["describe", &at(&good, name), "-o", "-", "--ca", &ca], 0);
        assert_eq!(cues(&out), cues(&want), "{name}");
    }
    assert!(good.received() > 0);
    let unknown = Front::new(&authority, Certificate::Good, web.port);
    let (_, err) = run(&b, &["describe", &at(&unknown, "film.mp4"), "-o", "-"], 1);
    assert!(
        err.contains("no authority that is trusted") && err.contains("--ca") && err.contains("--insecure"),
        "{err}"
    );
    assert_eq!(unknown.received(), 0);
    for (kind, why) in [
        (Certificate::WrongHost, "another host"),
        (Certificate::Expired, "expired"),
        (Certificate::SelfSigned, "no authority that is trusted"),
    ] {
        let bad = Front::new(&authority, kind, web.port);
        let url = at(&bad, "film.mp4");
        let (out, err) = run(&b, &["describe", &url, "-o", "-", "--ca", &ca], 1);
        assert!(out.is_empty() && err.contains(why), "{kind:?}\n{err}");
        let (_, err) = b.run(&["probe", &url, "--ca", &ca], 1);
        assert!(err.contains(why), "{kind:?}\n{err}");
        run(&b, &["index", &url, "--into", "archive", "--ca", &ca, "--retry-failed"], 1);
        // Segments, on another server than the playlist.
        b.write("far.m3u8", list(&at(&bad, "list0.ts")).as_bytes());
        let (out, err) = run(&b, &["describe", &at(&good, "far.m3u8"), "-o", "-", "--ca", &ca, "--allow-private"], 1);
        assert!(out.is_empty() && err.contains(why), "{kind:?}\n{out}\n{err}");
        assert_eq!(bad.received(), 0, "{kind:?}");
        let (out, _) = run(&b, &["describe", &url, "-o", "-", "--insecure"], 0);
        assert_eq!(cues(&out), cues(&want), "{kind:?}");
        assert!(bad.received() > 0, "{kind:?}");
    }
}

/// Cameras and disk stations sign for themselves, and say that they are authorities.
#[test]
fn a_certificate_that_the_user_names_is_accepted() {
    use Certificate as C;
    let b = Bench::new();
    film(&b);
    let want = want(&b);
    let authority = Authority::new(&b);
    let web = Web::new(b.path(""));
    let own = Front::new(&authority, C::OwnAuthority, web.port);
    for (kind, refusal) in [
        (C::OwnAuthority, None),
        (C::SelfSigned, None),
        (C::ExpiredOwnAuthority, Some("expired")),
        (C::OwnAuthorityOfOther, Some("another host")),
    ] {
        let front = Front::new(&authority, kind, web.port);
        b.write("own.pem", front.pem.as_bytes());
        let url = format!("https://localhost:{}/film.mp4", front.port);
        // With those of the authority it means nothing.
        let (_, err) = run(&b, &["describe", &url, "-o", "-", "--ca", "ca.pem"], 1);
        let why = if kind == C::ExpiredOwnAuthority { "expired" } else { "trusted" };
        assert!(err.contains(why) && front.received() == 0, "{kind:?}\n{err}");
        let (out, err) = run(&b, &["describe", &url, "-o", "-", "--ca", "own.pem"], i32::from(refusal.is_some()));
        match refusal {
            None => assert!(cues(&out) == cues(&want) && front.received() > 0, "{kind:?}\n{out}{err}"),
            Some(why) => assert!(err.contains(why) && front.received() == 0, "{kind:?}\n{err}"),
        }
        // Another server's certificate of the same kind.
        let url = format!("https://localhost:{}/film.mp4", own.port);
        let (_, err) = run(&b, &["describe", &url, "-o", "-", "--ca", "own.pem"], 1);
        assert!(err.contains("trusted") && own.received() == 0, "{kind:?}\n{err}");
    }
}

#[test]
fn credentials_go_to_their_own_server_only() {
    let b = Bench::new();
    film(&b);
    b.ffmpeg("-i film.mp4 -c copy film.ts");
    let want = want(&b);
    let other = Web::new(b.path(""));
    let target = other.url("film.mp4");
    let web = Web::with(b.path(""), move |request| {
        if header(request, "authorization") != Some("Basic Z3VhcmQ6c2VzYW1lLTQy") {
            let ask =
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"films\"\r\nContent-Length: 0\r\n\r\n";
            return Some(ask.into());
        }
        (path(request) == "moved.mp4").then(|| moved(&target))
    });
    b.write("list.m3u8", list("film.ts").as_bytes());
    let named = |name: &str| web.url(name).replace("http://", "http://guard:sesame-42@");
    for name in ["film.mp4", "list.m3u8", "moved.mp4"] {
        let (out, err) = run(&b, &["describe", &named(name), "-o", "-", "--allow-private", "-v"], 0);
        assert_eq!(cues(&out), cues(&want), "{name}");
        assert!(!out.contains("sesame") && !err.contains("sesame"), "{out}\n{err}");
        // No password before it is asked for.
        assert_eq!(header(&web.requests()[0], "authorization"), None, "{name}");
    }
    let seen = other.requests();
    assert!(!seen.is_empty() && seen.iter().all(|r| header(r, "authorization").is_none()), "{seen:?}");
    let (_, err) = run(&b, &["describe", &web.url("film.mp4"), "-o", "-"], 1);
    assert!(err.contains("401"), "{err}");
    // Where the server knows digests, the password stays here.
    let web = Web::with(b.path(""), |request| {
        let answered = header(request, "authorization").is_some_and(|a| a.starts_with("Digest username=\"guard\""));
        let ask = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\n\
                   WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\nContent-Length: 0\r\n\r\n";
        (!answered).then(|| ask.into())
    });
    let url = web.url("list.m3u8").replace("http://", "http://guard:sesame-42@");
    let (out, _) = run(&b, &["describe", &url, "-o", "-"], 0);
    assert_eq!(cues(&out), cues(&want));
    let seen = web.requests();
    let answers: Vec<&str> = seen.iter().filter_map(|r| header(r, "authorization")).collect();
    assert!(answers[0].contains("uri=\"/list.m3u8\"") && answers[0].contains("nc=00000001"), "{answers:?}");
    assert!(answers[1].contains("uri=\"/film.ts\"") && answers[1].contains("nc=00000002"), "{answers:?}");
}

#[test]
fn proxies_of_the_environment_are_used() {
    let b = Bench::new();
    film(&b);
    b.ffmpeg("-i film.mp4 -c copy film.ts");
    let want = want(&b);
    // A proxy is asked for whole addresses.
    let folder = b.path("http:/films.example");
    std::fs::create_dir_all(&folder).unwrap();
    let inner = Web::new(b.path(""));
    std::fs::copy(b.path("film.mp4"), folder.join("film.mp4")).unwrap();
    std::fs::write(folder.join("list.m3u8"), list(&inner.url("film.ts"))).unwrap();
    let proxy = Web::new(b.path(""));
    let through = |name: &str, code: i32| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(["describe", &format!("http://films.example/{name}"), "-o", "-"])
            .current_dir(b.path(""))
            .env("DESCRY_MODEL", root().join(TINY))
            .env("http_proxy", proxy.url(""))
            .output()
            .unwrap();
        let (text, err) =
            (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned());
        assert_eq!(out.status.code(), Some(code), "{text}\n{err}");
        (text, err)
    };
    let (out, _) = through("film.mp4", 0);
    assert_eq!(cues(&out), cues(&want));
    proxy.requests();
    let (_, err) = through("list.m3u8", 1);
    assert!(err.contains("it leads to 127.0.0.1"), "{err}");
    let seen = proxy.requests();
    assert!(inner.requests().is_empty() && seen.iter().all(|r| path(r).contains("films.example")), "{seen:?}");
}

#[test]
fn object_stores_redirect_to_no_private_address() {
    let b = Bench::new();
    film(&b);
    let inner = Web::new(b.path(""));
    let target = inner.url("film.mp4");
    let store = Web::with(b.path("nothing"), move |_| {
        Some(format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"))
    });
    let run = |more: &[&str], code: i32| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(["describe", "s3://films/film.mp4", "-o", "-"])
            .args(more)
            .current_dir(b.path(""))
            .env("DESCRY_MODEL", root().join(TINY))
            .env("AWS_ENDPOINT_URL", store.url(""))
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ACCESS_KEY_ID", "AKIAQUITEPUBLIC7")
            .env("AWS_SECRET_ACCESS_KEY", "sesame/open+0123456789")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{text}");
        text
    };
    let err = run(&[], 1);
    assert!(err.contains("it leads to 127.0.0.1") && err.contains("--allow-private"), "{err}");
    assert!(inner.requests().is_empty());
    run(&["--allow-private"], 0);
    let seen = inner.requests();
    assert!(!seen.is_empty() && seen.iter().all(|r| header(r, "authorization").is_none()), "{seen:?}");
}
