//! What models are asked: earlier descriptions in the prompt, groups of pictures, and models that the environment names. A
//! server of ours records the prompts.

use std::process::{Command, Output, Stdio};

use crate::common::model_server::{Asked, ModelServer, Reply};
use crate::common::{Bench, TINY, root};
use serde_json::{Value, json};

const HUB: &str = "tests/models/hub";

/// A film with one of five pictures in each second.
fn film(b: &Bench, name: &str, pictures: &[u8]) {
    let names: Vec<String> = pictures.iter().map(|n| format!("file {n}.mkv\n")).collect();
    for (n, source) in
        ["testsrc=size=160x120", "mandelbrot=size=160x120", "rgbtestsrc=size=160x120", "smptebars=size=160x120"]
            .into_iter()
            .enumerate()
    {
        // Equal frames, so that a picture that returns has the same embedding.
        b.ffmpeg(&format!("-f lavfi -i {source}:rate=1 -frames:v 1 {n}.png"));
        b.ffmpeg(&format!("-loop 1 -i {n}.png -vf format=yuv444p -t 1 -r 5 -c:v ffv1 {n}.mkv"));
    }
    b.write("list.txt", names.concat().as_bytes());
    b.ffmpeg(&format!("-f concat -i list.txt -c copy {name}"));
}

fn command(b: &Bench, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    command.args(args).current_dir(b.path(".")).stdin(Stdio::null());
    for variable in ["DESCRY_API_KEY", "DESCRY_MODEL", "DESCRY_MODEL_NAME"] {
        command.env_remove(variable);
    }
    command
}

/// Describes films, a picture for each second, into JSON files.
fn describe(b: &Bench, model: &str, more: &[&str]) -> Output {
    let embedder = root().join(TINY).display().to_string();
    let mut args = vec!["describe", "-f", "json", "-o", "out/", "--force", "--model", model, "--embedder", &embedder];
    args.extend(["--scenes", "fixed", "--interval", "1", "--same", "0.9999", "--returning", "0.9999"]);
    if model.starts_with("openai:") {
        args.extend(["--model-name", "m"]);
    }
    args.extend(more);
    command(b, &args).output().unwrap()
}

fn good(out: &Output) {
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}

fn refusal(out: &Output) -> String {
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(matches!(out.status.code(), Some(1 | 2)) && !text.contains("panicked"), "{:?} {text}", out.status);
    text
}

fn track(b: &Bench, name: &str) -> Value {
    serde_json::from_str(&b.read(&format!("out/{name}"))).unwrap()
}

fn prompt(asked: &Asked) -> String {
    let content = asked.body["messages"][0]["content"].as_array().unwrap();
    content.last().unwrap()["text"].as_str().unwrap().to_string()
}

/// A server whose answer depends on the picture and on the prompt, so that a caption shows what it was made of.
fn server() -> ModelServer {
    ModelServer::new(|_, asked| {
        let picture = asked.picture();
        let mean = picture.as_raw().iter().map(|v| u64::from(*v)).sum::<u64>() / picture.as_raw().len() as u64;
        let words = prompt(asked).split_whitespace().count();
        Reply::text(&format!("Lightness {mean} after {words} words"))
    })
}

#[test]
fn the_prompt_has_the_latest_descriptions_of_what_was_new() {
    let b = Bench::new();
    // The second picture stays, and the first one returns: neither is asked about again. The third one is refused.
    film(&b, "film.mkv", &[0, 1, 1, 0, 2, 3]);
    let server = ModelServer::new(|n, _| {
        Reply::text(
            ["A clock.", "The image shows a *fractal*.", "I'm sorry, I can't help with that.", "Bars."][n.min(3)],
        )
    });
    let prompt_of = |context: &str| {
        let before = server.asked().len();
        good(&describe(
            &b,
            &server.model(),
            &["film.mkv", "--prompt", "What?", "--language", "Dutch", "--context", context],
        ));
        server.asked()[before..].iter().map(prompt).collect::<Vec<_>>()
    };
    let rest = "What? Describe only what is new. Answer in Dutch.";
    let earlier = |lines: &str| format!("Earlier descriptions, oldest first:\n{lines}\n{rest}");
    let two = "- A clock.\n- A fractal.\n";
    assert_eq!(
        prompt_of("2"),
        ["What? Answer in Dutch.".to_string(), earlier("- A clock.\n"), earlier(two), earlier(two)]
    );
    let track = track(&b, "film.json");
    let decoding = &track["options"]["decoding"];
    assert_eq!(decoding["prompt"], json!({ "text": "What?", "language": "Dutch", "notes": null, "context": 2 }));
    let texts: Vec<&str> = track["scenes"].as_array().unwrap().iter().map(|s| s["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["A clock", "a fractal", "a fractal", "A clock", "", "Bars"]);
}

#[test]
fn context_does_not_depend_on_batches_requests_or_other_films() {
    let b = Bench::new();
    film(&b, "a.mkv", &[0, 1, 2, 3]);
    film(&b, "b.mkv", &[3, 2, 1, 0]);
    let server = server();
    let model = server.model();
    let run = |more: &[&str]| {
        good(&describe(&b, &model, &[&["a.mkv", "b.mkv", "--context", "3"], more].concat()));
        (b.read("out/a.json"), b.read("out/b.json"))
    };
    let want = run(&["--server-jobs", "1", "--batch", "1"]);
    assert_eq!(server.most_at_once(), 1);
    for more in [
        &[][..],
        &["--server-jobs", "8", "--batch", "16"],
        &["--server-jobs", "2", "--batch", "2"],
        &["--server-jobs", "3", "-j", "2", "--batch", "3"],
    ] {
        assert_eq!(run(more), want, "{more:?}");
    }
    // At most one request for each film that is under way.
    assert!(server.most_at_once() <= 2, "{}", server.most_at_once());
    // Without earlier descriptions it is another track, and 0 is none.
    let plain = |more: &[&str]| {
        good(&describe(&b, &model, &[&["a.mkv"], more].concat()));
        b.read("out/a.json")
    };
    let none = plain(&[]);
    assert_eq!(plain(&["--context", "0"]), none);
    let texts = |text: &str| serde_json::from_str::<Value>(text).unwrap()["scenes"][3]["text"].clone();
    assert_ne!(texts(&none), texts(&want.0));
}

#[test]
fn a_model_of_the_hub_takes_earlier_descriptions() {
    let b = Bench::new();
    film(&b, "a.mkv", &[0, 1, 2, 3]);
    film(&b, "b.mkv", &[2, 3]);
    let folder = root().join(HUB).display().to_string();
    let run = |more: &[&str]| {
        good(&describe(&b, &folder, &[&["a.mkv", "b.mkv", "--max-tokens", "8"], more].concat()));
        (track(&b, "a.json")["scenes"].clone(), track(&b, "b.json")["scenes"].clone())
    };
    let want = run(&["--context", "2", "--batch", "1", "--model-threads", "1"]);
    for more in [&["-j", "2", "--batch", "7"][..], &["--model-threads", "2"]] {
        assert_eq!(run(&[&["--context", "2"], more].concat()), want, "{more:?}");
    }
    let plain = run(&[]);
    let text = |scenes: &Value, n: usize| scenes[n]["text"].as_str().unwrap().to_string();
    assert_eq!(text(&plain.0, 0), text(&want.0, 0));
    assert!((1..4).any(|n| text(&plain.0, n) != text(&want.0, n)), "{plain:?}");
}

#[test]
fn context_is_part_of_an_archives_state() {
    let b = Bench::new();
    std::fs::create_dir(b.path("films")).unwrap();
    film(&b, "films/a.mkv", &[0, 1, 2]);
    let (server, tiny) = (server(), root().join(TINY).display().to_string());
    let model = server.model();
    let index = |more: &[&str]| {
        let args = ["index", "films", "--into", "archive", "--model", &model, "--model-name", "m", "--embedder", &tiny];
        let out = command(&b, &[&args[..], more].concat()).output().unwrap();
        good(&out);
        String::from_utf8(out.stdout).unwrap()
    };
    index(&["--context", "2"]);
    assert_eq!(index(&["--context", "2", "--plan"]), "");
    for more in [&["--context", "3", "--plan"][..], &["--plan"]] {
        assert!(index(more).contains("a.mkv"), "{more:?}");
    }
    index(&[]);
    // Without earlier descriptions, 0 is the same state as before there were any.
    assert_eq!(index(&["--context", "0", "--plan"]), "");
}

#[test]
fn parts_pictures_and_models_without_a_prompt_take_no_context() {
    let b = Bench::new();
    film(&b, "film.mkv", &[0, 1]);
    let (hub, tiny) = (root().join(HUB).display().to_string(), root().join(TINY).display().to_string());
    let refused = |args: &[&str]| refusal(&command(&b, args).output().unwrap());
    let part = ["part", "film.mkv", "--part", "1/2", "-o", "1.part", "--model", &hub, "--context", "2"];
    let text = refused(&part);
    assert!(text.contains("cannot have --context"), "{text}");
    b.write("x.part", b"");
    let text = refused(&["stitch", "film.mkv", "x.part", "-o", "x.vtt", "--model", &hub, "--context", "2"]);
    assert!(text.contains("cannot have --context"), "{text}");
    let text = refused(&["describe", "film.mkv", "-o", "x.vtt", "--model", &tiny, "--context", "2"]);
    assert!(text.contains("takes no --context"), "{text}");
    let text = refused(&["describe", "film.mkv", "-o", "x.vtt", "--model", &hub, "--context", "21"]);
    assert!(text.contains("--context"), "{text}");
    let text = refused(&["caption", "0.png", "--model", &hub, "--context", "2"]);
    assert!(text.contains("--context"), "{text}");
    good(&command(&b, &["describe", "film.mkv", "-o", "x.vtt", "--model", &tiny, "--context", "0"]).output().unwrap());
}

#[test]
fn pictures_that_follow_one_another_share_a_caption() {
    let b = Bench::new();
    let (hub, tiny) = (root().join(HUB).display().to_string(), root().join(TINY).display().to_string());
    let cases: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(root().join("tests/goldens/hub.json")).unwrap()).unwrap();
    let mut checked = 0;
    for case in cases.iter().filter(|c| c["frames"].as_u64() > Some(1) && c["generation"] == json!({})) {
        let names: Vec<&str> = case["pictures"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let pictures = names.iter().map(|n| root().join("tests/goldens/hub").join(n).display().to_string());
        let pictures: Vec<String> = pictures.collect();
        let number = |key: &str| case[key].as_u64().unwrap().to_string();
        let (frames, beams, tokens) = (number("frames"), number("beams"), number("max_tokens"));
        let prompt = case["prompt"].as_str().unwrap();
        for batch in ["1", "4"] {
            let mut args = vec!["caption", "--json", "--model", &hub, "--embedder", &tiny, "--batch", batch];
            args.extend(["--frames", &frames, "--beam", &beams, "--max-tokens", &tokens, "--prompt", prompt]);
            args.extend(pictures.iter().map(String::as_str));
            let out = command(&b, &args).output().unwrap();
            good(&out);
            let lines: Vec<Value> =
                String::from_utf8(out.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
            let ids: Vec<&Value> = lines.iter().map(|l| &l["ids"]).collect();
            assert_eq!(json!(ids), case["ids"], "{case}");
            let groups: Vec<&[String]> = pictures.chunks(frames.parse().unwrap()).collect();
            assert_eq!(groups.len(), lines.len());
            for (group, line) in groups.iter().zip(&lines) {
                assert_eq!((&line["image"], &line["images"]), (&json!(group[0]), &json!(group)));
            }
        }
        checked += 1;
    }
    assert!(checked >= 3, "{checked}");
}

#[test]
fn a_group_with_a_picture_that_cannot_be_read_has_no_caption() {
    let b = Bench::new();
    film(&b, "film.mkv", &[0]);
    b.write("bad.png", b"this is no picture");
    let server = ModelServer::new(|_, asked| {
        Reply::text(&format!("Pictures: {}.", asked.body["messages"][0]["content"].as_array().unwrap().len() - 1))
    });
    let (model, tiny) = (server.model(), root().join(TINY).display().to_string());
    let args = ["caption", "--model", &model, "--model-name", "m", "--embedder", &tiny, "--frames", "2"];
    let pictures = ["0.png", "1.png", "2.png", "bad.png", "3.png"];
    let out = command(&b, &[&args[..], &pictures].concat()).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "0.png\tPictures: 2\n3.png\tPictures: 1\n");
    assert!(String::from_utf8_lossy(&out.stderr).contains("bad.png"));
    let out = command(&b, &["caption", "0.png", "--model", &tiny, "--frames", "2"]).output().unwrap();
    assert!(refusal(&out).contains("takes no --frames"));
}

#[test]
fn the_environment_may_name_a_server_or_a_folder_of_the_hub() {
    let b = Bench::new();
    film(&b, "film.mkv", &[0]);
    let server = ModelServer::new(|_, _| Reply::text("A test card."));
    let run = |model: &str, name: &str, args: &[&str]| {
        command(&b, args).env("DESCRY_MODEL", model).env("DESCRY_MODEL_NAME", name).output().unwrap()
    };
    let out = run(&server.model(), "m:3b", &["caption", "0.png"]);
    good(&out);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "0.png\tA test card\n");
    assert_eq!(server.asked()[0].body["model"], "m:3b");
    let out = run(&server.model(), "m:3b", &["caption", "0.png", "--model-name", "n"]);
    good(&out);
    assert_eq!(server.asked()[1].body["model"], "n");
    let text = refusal(&run(&server.model(), "", &["caption", "0.png"]));
    assert!(text.contains("--model-name"), "{text}");
    // The built-in model embeds. Another model, named on the command line, needs no server.
    good(&run(&server.model(), "", &["embed", "0.png"]));
    let tiny = root().join(TINY).display().to_string();
    good(&run(&server.model(), "m", &["caption", "0.png", "--model", &tiny]));
    let hub = root().join(HUB).display().to_string();
    good(&run(&hub, "", &["caption", "0.png", "--max-tokens", "2"]));
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_server_is_shown_without_being_asked() {
    let b = Bench::new();
    let server = ModelServer::new(|_, _| Reply::Close);
    let out = command(&b, &["model", "show", &server.model(), "--model-name", "m:3b"]).output().unwrap();
    good(&out);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("m:3b") && text.contains(&format!("127.0.0.1:{}/v1", server.port)), "{text}");
    assert!(text.contains("embeddings come from") && server.asked().is_empty(), "{text}");
    let text = refusal(&command(&b, &["model", "show", &server.model()]).output().unwrap());
    assert!(text.contains("--model-name"), "{text}");
    let text = refusal(&command(&b, &["embed", "0.png", "--model", "openai:http://me:secret@h/v1"]).output().unwrap());
    assert!(text.contains("a server captions and does not embed") && !text.contains("secret"), "{text}");
}
