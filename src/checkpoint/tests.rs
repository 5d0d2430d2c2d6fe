//! Checkpoints that PyTorch 2.11 and safetensors wrote; `tests/goldens/make_checkpoints.py` makes them.

use std::fs;
use std::path::{Path, PathBuf};

use super::Checkpoint;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/checkpoints").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&path(name)).unwrap()
}

fn refused(name: &str) -> String {
    Checkpoint::open(&path(name)).unwrap_err().to_string()
}

/// Opens changed bytes of a file; returns the message.
fn refused_bytes(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("changed.pt");
    fs::write(&file, bytes).unwrap();
    let error = match Checkpoint::open(&file) {
        Ok(opened) => {
            // What is found by its names alone may still lack values.
            let names: Vec<String> = opened.names().map(String::from).collect();
            names.iter().find_map(|name| opened.values(name, opened.get(name).unwrap().shape()).err())
        }
        Err(e) => Some(e),
    };
    error.map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn every_kind_of_view_and_float_has_pytorchs_values() {
    for name in ["state.pt", "state.safetensors"] {
        let all = open(name);
        let values = |name: &str, shape: &[usize]| all.values(name, shape).unwrap();
        let rows: Vec<f32> = (0..12u8).map(f32::from).collect();
        assert_eq!(values("rows", &[3, 4]), rows);
        assert_eq!(values("turned", &[4, 3]), [0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]);
        assert_eq!(values("middle", &[2, 2]), [5., 6., 9., 10.]);
        assert_eq!(values("repeated", &[2, 3]), [5., 5., 5., 6., 6., 6.]);
        assert_eq!(values("half", &[2]), [0.5, -2.0]);
        assert_eq!(values("brain", &[2]), [0.5, -2.0]);
        assert_eq!(values("double", &[1]), [0.25]);
        assert_eq!(values("empty", &[0, 3]), [0f32; 0]);
        assert_eq!(values("parameter", &[2]), [1.0, 2.0]);
        assert_eq!(all.names().count(), 11);
        let error = |name: &str, shape: &[usize]| all.values(name, shape).unwrap_err().to_string();
        assert!(error("count", &[]).contains("tensor count holds integers"));
        assert!(error("rows", &[4, 3]).contains("tensor rows is [3, 4], and must be [4, 3]"));
        assert!(error("absent", &[1]).contains("there is no tensor absent"));
    }
    assert_eq!(open("linear.pt").values("weight", &[1, 2]).unwrap(), [3.0, 3.0], "with PyTorch's own metadata");
}

#[test]
fn a_torchscript_module_has_the_names_of_its_state_dict() {
    let all = open("script.pt");
    assert_eq!(all.names().collect::<Vec<_>>(), ["scale", "visual.count", "visual.weight"]);
    assert_eq!(all.values("visual.weight", &[2, 3]).unwrap(), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(all.values("scale", &[]).unwrap(), [2.5]);
}

#[test]
fn more_than_tensors_is_refused_and_nothing_is_run() {
    for (name, words) in [
        ("command.pt", &["posix.system", "more than tensors"][..]),
        ("system.pt", &["posix.system"]),
        ("more.pt", &["more than tensors: epoch"]),
        ("nested.pt", &["more than tensors: model"]),
        ("list.pt", &["no state dict"]),
        ("legacy.pt", &["before 1.6", "torch.save"]),
        ("compressed.pt", &["compressed"]),
        ("short.pt", &["tensor weight: its storage has 4 bytes, too few for 2 values"]),
        ("big_endian.pt", &["big-endian"]),
    ] {
        let error = refused(name);
        assert!(words.iter().all(|word| error.contains(word)) && error.contains(name), "{error}");
    }
    assert!(!Path::new("this-was-run").exists());
    assert!(refused_bytes(b"not a checkpoint").contains("neither"));
    assert!(refused_bytes(b"").contains("neither"));
}

/// The archive is built anew around each changed pickle, so that nothing but the view is wrong.
#[test]
fn a_view_beyond_its_storage_is_refused() {
    let entry = |name: &str| {
        let mut archive = zip::ZipArchive::new(fs::File::open(path("linear.pt")).unwrap()).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut archive.by_name(name).unwrap(), &mut bytes).unwrap();
        bytes
    };
    let (pickle, weight, bias) = (entry("linear/data.pkl"), entry("linear/data/0"), entry("linear/data/1"));
    let archive =
        |pickle: &[u8]| stored(&[("linear/data.pkl", pickle), ("linear/data/0", &weight), ("linear/data/1", &bias)]);
    assert_eq!(refused_bytes(&archive(&pickle)), "");
    // The weight's offset, shape and strides: K 0, (K 1, K 2), (K 2, K 1).
    let view = b"K\0K\x01K\x02\x86";
    let at = pickle.windows(view.len()).position(|w| w == view).unwrap();
    for (place, value) in [(1, 1), (1, 200), (3, 2), (5, 3)] {
        let mut changed = pickle.clone();
        changed[at + place] = value;
        let error = refused_bytes(&archive(&changed));
        assert!(error.contains("tensor weight: it reaches beyond its storage"), "{place} {value}: {error}");
    }
}

#[test]
fn files_that_were_cut_or_damaged_are_refused() {
    for name in ["linear.pt", "script.pt", "state.safetensors"] {
        let bytes = fs::read(path(name)).unwrap();
        for length in (0..bytes.len()).step_by(7) {
            assert!(!refused_bytes(&bytes[..length]).is_empty(), "{name} of {length} bytes");
        }
    }
    let mut bytes = fs::read(path("state.safetensors")).unwrap();
    bytes.push(0);
    assert!(refused_bytes(&bytes).contains("its header describes"));
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(refused_bytes(&bytes).contains("more than"));
}

/// A small file whose tensor repeats its one value so often that it would fill any memory.
#[test]
fn values_that_a_file_cannot_hold_are_refused() {
    let pickle = [
        &b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"[..],
        b"X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\0",
        b"J\0\0\0\x10J\0\0\0\x10\x86",
        b"K\0K\0\x86\x89}tRs.",
    ]
    .concat();
    let error = refused_bytes(&stored(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 4])]));
    assert!(error.contains("more values than so small a file can hold"), "{error}");
}

#[test]
fn an_entry_cannot_claim_more_bytes_than_the_file_has() {
    let bytes = stored(&[("a/data.pkl", b"\x80\x02}."), ("a/version", b"3")]);
    assert_eq!(refused_bytes(&bytes), "", "an empty state dict is one");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        let _ = refused_bytes(&changed);
    }
}

/// A zip archive of stored entries.
fn stored(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        std::io::Write::write_all(&mut writer, bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
