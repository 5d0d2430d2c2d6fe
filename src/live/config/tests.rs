use super::*;
use crate::live::access::access;
use crate::media::StreamAccess;

fn read(toml: &str) -> Result<Vec<StreamConfig>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("streams.toml");
    std::fs::write(&path, toml).unwrap();
    let file = LiveConfig::read(&path)?;
    LiveConfig::default().streams(Some(&file), &[])
}

fn option<'a>(access: &'a StreamAccess, name: &str) -> Option<&'a str> {
    access.options.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
}

#[test]
fn a_file_has_streams_and_settings_for_all() {
    let streams = read(
        "max_gap = 4\nmin_interval = 0\n[[stream]]\nurl = 'rtsp://u:passw0rd@cam:554/door'\n[[stream]]\nname = 'yard'\n\
         url = 'rtsp://cam/yard'\ntransport = 'udp'\nevery = 2.5\n",
    )
    .unwrap();
    assert_eq!(streams.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["cam:554/door", "yard"]);
    assert_eq!(streams[0].watcher.max_gap, Time::from_millis(4_000));
    assert_eq!(streams[1].watcher.max_gap, Time::from_millis(2_500));
    assert_eq!(streams[1].min_interval, Time::ZERO);
    let second = access(&streams[1]);
    assert_eq!(option(&second, "rtsp_transport"), Some("udp"));
    assert_eq!(option(&access(&streams[0]), "protocol_whitelist"), Some("rtsp,rtp,tcp"));
    assert_eq!(option(&access(&streams[0]), "fflags"), Some("+genpts+discardcorrupt"));
}

#[test]
fn each_stream_may_have_its_own_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("door.txt");
    std::fs::write(&path, "Who is at the door?\n").unwrap();
    let toml = format!(
        "language = 'Dutch'\ncontext = 2\n[[stream]]\nurl = 'rtsp://h/a'\nprompt_file = '{}'\ncontext = 0\n\
         [[stream]]\nurl = 'rtsp://h/b'\nlanguage = 'French'\n",
        path.display()
    );
    let prompts: Vec<_> = read(&toml).unwrap().into_iter().map(|s| s.prompt.unwrap()).collect();
    assert_eq!((prompts[0].text.as_str(), prompts[0].language.as_deref()), ("Who is at the door?", Some("Dutch")));
    assert_eq!((prompts[0].context, prompts[1].context), (0, 2));
    assert_eq!(prompts[1].language.as_deref(), Some("French"));
    let urls = ["rtsp://h/a".into()];
    assert_eq!(LiveConfig::default().streams(None, &urls).unwrap()[0].prompt, None);
    // The command line comes between the file and its streams.
    let line = LiveConfig { language: Some("Greek".into()), context: Some(1), ..LiveConfig::default() };
    let file = LiveConfig { language: Some("Dutch".into()), prompt: Some("Why?".into()), ..LiveConfig::default() };
    let prompt = line.streams(Some(&file), &urls).unwrap().remove(0).prompt.unwrap();
    assert_eq!((prompt.text.as_str(), prompt.language.as_deref(), prompt.context), ("Why?", Some("Greek"), 1));
}

#[test]
fn wrong_prompts_are_refused_with_the_file_and_the_stream() {
    for (line, wanted) in [
        ("prompt = ' '", "the prompt is empty"),
        ("prompt = 'a'\nprompt_file = 'b'", "a prompt and a file with a prompt are given"),
        ("prompt_file = 'nowhere/b.txt'", "nowhere/b.txt: no such file"),
        ("notes = 'nowhere/n.txt'", "nowhere/n.txt: no such file"),
        ("language = ''", "the language has no name"),
        ("context = 21", "`context` 21 is out of range"),
    ] {
        let error = read(&format!("[[stream]]\nurl = 'rtsp://h/x'\nname = 'door'\n{line}")).unwrap_err().to_string();
        assert!(error.contains(&format!("streams.toml: stream door: {wanted}")), "{line}: {error}");
    }
}

#[test]
fn each_stream_may_have_its_own_policy() {
    let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/ca.pem");
    let toml = format!(
        "ca = '{}'\n[[stream]]\nurl = 'https://h/a'\n[[stream]]\nurl = 'https://h/b'\ninsecure = true\n\
         [[stream]]\nurl = 'https://h/c'\nallow_private = true\n",
        ca.display()
    );
    let policies: Vec<_> = read(&toml).unwrap().into_iter().map(|s| s.access).collect();
    assert!(!policies[0].insecure && !policies[0].allow_private && policies[0].authorities.is_some());
    assert!(policies[1].insecure && policies[1].authorities.is_none());
    assert!(policies[2].allow_private && !policies[2].insecure);
    let wrong = read("ca = 'nowhere.pem'\n[[stream]]\nurl = 'https://h/a'\n").unwrap_err().to_string();
    assert!(wrong.contains("nowhere.pem: cannot be read"), "{wrong}");
}

#[test]
fn the_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/service/streams.toml");
    let file = LiveConfig::read(&path).unwrap();
    assert_eq!(LiveConfig::default().streams(Some(&file), &[]).unwrap().len(), 2);
    assert!(file.outputs.http.unwrap().ip().is_loopback());
}

#[test]
fn wrong_files_are_refused_without_quoting_them() {
    for (toml, wanted) in [
        ("", "no stream is named"),
        ("[[stream]]\nurl = 'gopher://host/x'", "gopher"),
        ("[[stream]]\nurl = 'film.mp4'", "is a file"),
        ("[[stream]]\nurl = 'rtsp://h/x'\nname = 'a'\n[[stream]]\nurl = 'rtsp://h/y'\nname = 'a'", "two streams"),
        ("[[stream]]\nurl = 'rtsp://h/x'\nsilence = 0.0", "out of range"),
        ("[[stream]]\nurl = 'rtsp://h/x'\nevery = nan", "out of range"),
        ("[[stream]]\nurl = 'rtsp://h/x'\nname = ''", "1 to 100"),
        ("[[stream]]\nurl = 'rtsp://h/x'\nwait_for_pause = 61", "out of range"),
        ("audio = '0'\n[[stream]]\nurl = 'rtsp://h/x'", "neither a number nor a language"),
        ("[[stream]]\nurl = 'rtsp://u:t0p-secret@h/x'\nnmae = 'a'", ":3: unknown field"),
        ("[[stream]]\nurl = 'rtsp://u:t0p-secret@h/x", ":2: "),
        ("[[stream]]\nurl = 'rtsp://u:t0p-secret@h/x'\ndecode_threads = 'rtsp://u:t0p-secret@h'", ":3: "),
        ("stream = 'rtsp://u:t0p-secret@h'", ":1: "),
        ("[outputs]\nhttp_token = 70973263\n", ":2: invalid type: integer …, expected"),
        ("[outputs]\nhttp_token = 70973263.5\n", ":2: invalid type: floating point …, expected"),
        ("[outputs]\nvtt_keep = 'a\"t0p\\\"secret'\n", ":2: invalid type: string …, expected"),
        ("transport = 't0p`secret, expected `t0p'\n", ":1: unknown variant …, expected `tcp` or `udp`"),
        ("\"rtsp://u:t0p`\\n`secret, expected t0p\" = 1\n", ":1: unknown field …, expected one of `transport`"),
        ("[[stream]]\nurl 'rtsp://u:t0p-secret@h'\n", ":2: "),
        ("[[stream]]\nname = 'a'\n", "missing field `url`"),
    ] {
        let error = read(toml).unwrap_err().to_string();
        assert!(error.contains(wanted), "{toml}: {error}");
        assert!(!error.contains("t0p") && !error.contains("secret") && !error.contains("709"), "{error}");
    }
}

#[test]
fn plain_addresses_get_unique_names() {
    let urls = ["rtsp://u:p@cam/a", "rtsp://cam/a", "/dev/video0", "http://h/x.m3u8?k=v"].map(Address::from);
    let streams = LiveConfig::default().streams(None, &urls).unwrap();
    let names: Vec<_> = streams.iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["cam/a", "cam/a (2)", "video0", "h/x.m3u8"]);
    assert_eq!(access(&streams[2]).format, Some("v4l2"));
    assert_eq!(option(&access(&streams[3]), "protocol_whitelist"), Some("data"));
}

#[test]
fn each_stream_may_wait_for_pauses_in_its_own_way() {
    let toml = "wait_for_pause = 5\naudio = 'eng'\n[[stream]]\nurl = 'rtsp://h/a'\nwait_for_pause = 0\n\
                [[stream]]\nurl = 'rtsp://h/b'\naudio = '2'\n";
    let streams = read(toml).unwrap();
    assert_eq!((streams[0].wait_for_pause, streams[0].side_track(false)), (Duration::ZERO, SideTrack::Nothing));
    assert_eq!(streams[1].wait_for_pause, Duration::from_secs(5));
    assert_eq!(streams[1].side_track(false), SideTrack::Audio(TrackChoice::Number(2)));
    let usual = StreamConfig::new("rtsp://h/c").unwrap();
    assert_eq!(usual.wait_for_pause, Duration::from_secs(3));
    assert_eq!(usual.side_track(false), SideTrack::Audio(TrackChoice::Usual));
}
