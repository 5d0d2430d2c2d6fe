//! From a manifest to what FFmpeg reads.

use std::fmt::Write;
use std::time::SystemTime;

use reqwest::Url;

use super::manifest::{AdaptationSet, Base, DashManifest, Period, Representation};
use super::segments::{ByteRange, SegmentRun, SegmentWindow, TemplateValues};
use super::times::{seconds, since};

/// Seconds of a live presentation that are offered if the manifest names no depth.
const DEPTH: f64 = 60.0;

/// What is read of a presentation.
#[derive(Debug, PartialEq)]
pub(crate) enum Rendition {
    /// One file.
    File(Url),
    /// A playlist of HLS.
    Playlist(String),
}

/// Makes playlists of the versions of one manifest. A segment keeps its number from one to the next.
#[derive(Debug, Default)]
pub(crate) struct DashPlaylists {
    /// The marks of the segments of the last playlist, and the number of the first.
    last: (Vec<u64>, u64),
}

impl DashPlaylists {
    /// Reads a manifest that came from `url`.
    ///
    /// # Errors
    /// In words, if it is no manifest, or has no video that can be read.
    pub(crate) fn read(&mut self, text: &str, url: &Url, now: SystemTime) -> Result<Rendition, String> {
        let manifest: DashManifest = quick_xml::de::from_str(text).map_err(|_| "its manifest is not valid")?;
        let is_live = manifest.kind.as_deref() == Some("dynamic");
        let base = based(url, &manifest.bases)?;
        let mut runs = Vec::new();
        for (n, period) in manifest.periods.iter().enumerate() {
            let Some((set, best)) = best(period) else { continue };
            let base = based(&based(&based(&base, &period.bases)?, &set.bases)?, &best.bases)?;
            let id = best.id.as_deref().unwrap_or_default();
            let values = TemplateValues { base: &base, id, bandwidth: best.bandwidth.unwrap_or(0) };
            let template = best.template.clone().or(set.template.clone()).or(period.template.clone());
            let list = best.list.as_ref().or(set.list.as_ref()).or(period.list.as_ref());
            runs.push(match (template, list) {
                (Some(_), _) => {
                    let own = best.template.clone().unwrap_or_default();
                    let template = own.or(set.template.as_ref()).or(period.template.as_ref());
                    values.segments(&template, window(&manifest, n, is_live, now))?
                }
                (None, Some(list)) => values.listed(list)?,
                (None, None) if manifest.periods.len() == 1 => return Ok(Rendition::File(base)),
                (None, None) => return Err("it has several films one after the other".into()),
            });
        }
        if runs.iter().all(|run| run.segments.is_empty()) {
            return Err("its manifest names no video".into());
        }
        let first = self.number(&runs);
        Ok(Rendition::Playlist(playlist(&runs, first, is_live)))
    }

    /// The number of the first segment.
    fn number(&mut self, runs: &[SegmentRun]) -> u64 {
        let marks: Vec<u64> = runs.iter().flat_map(|run| &run.segments).map(|segment| segment.mark).collect();
        let (last, number) = &self.last;
        let known = marks.first().and_then(|first| last.iter().position(|mark| mark == first));
        let first = number.saturating_add(known.unwrap_or(last.len()) as u64);
        self.last = (marks, first);
        first
    }
}

/// The best video of a period.
fn best(period: &Period) -> Option<(&AdaptationSet, &Representation)> {
    let all = period.sets.iter().flat_map(|set| set.representations.iter().map(move |one| (set, one)));
    let videos = all.filter(|(set, one)| is_video(set, one));
    videos.max_by_key(|(set, one)| {
        let (width, height) = (one.width.or(set.width).unwrap_or(0), one.height.or(set.height).unwrap_or(0));
        (width.saturating_mul(height), one.bandwidth.unwrap_or(0))
    })
}

fn is_video(set: &AdaptationSet, one: &Representation) -> bool {
    let kind = set.content_type.as_ref().or(one.mime_type.as_ref()).or(set.mime_type.as_ref());
    match kind {
        Some(kind) => kind.starts_with("video"),
        None => one.width.or(set.width).is_some(),
    }
}

/// What addresses count from below an element with these bases. The first is as good as any.
fn based(outer: &Url, bases: &[Base]) -> Result<Url, String> {
    match bases.iter().map(|base| base.address.trim()).find(|address| !address.is_empty()) {
        Some(address) => outer.join(address).map_err(|_| "an address in it is not valid".into()),
        None => Ok(outer.clone()),
    }
}

/// Which segments of a period there are.
fn window(manifest: &DashManifest, n: usize, is_live: bool, now: SystemTime) -> SegmentWindow {
    let period = &manifest.periods[n];
    let time = |text: &Option<String>| text.as_deref().and_then(seconds);
    let start = time(&period.start).unwrap_or(0.0);
    let next = manifest.periods.get(n + 1).and_then(|next| time(&next.start));
    let end = next.or(time(&manifest.duration)).map(|end| (end - start).max(0.0));
    let length = time(&period.duration).or(end);
    let live = is_live.then(|| {
        let since = manifest.available_from.as_deref().and_then(|text| since(text, now)).unwrap_or(0.0);
        let to = (since - start).max(0.0);
        ((to - time(&manifest.depth).unwrap_or(DEPTH)).max(0.0), to)
    });
    SegmentWindow { length, live }
}

fn playlist(runs: &[SegmentRun], first: u64, is_live: bool) -> String {
    let segments = || runs.iter().flat_map(|run| &run.segments);
    let longest = segments().map(|segment| segment.seconds).fold(1.0, f64::max).ceil();
    let mut text =
        format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{longest}\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
    for (n, run) in runs.iter().enumerate().filter(|(_, run)| !run.segments.is_empty()) {
        if n > 0 {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if let Some((url, range)) = &run.initialization {
            let part = part(*range).map_or(String::new(), |part| format!(",BYTERANGE=\"{part}\""));
            let _ = writeln!(text, "#EXT-X-MAP:URI=\"{url}\"{part}");
        }
        for segment in &run.segments {
            let _ = writeln!(text, "#EXTINF:{:.6},", segment.seconds);
            if let Some(part) = part(segment.range) {
                let _ = writeln!(text, "#EXT-X-BYTERANGE:{part}");
            }
            let _ = writeln!(text, "{}", segment.url);
        }
    }
    if !is_live {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

/// A part as HLS writes it.
fn part(range: ByteRange) -> Option<String> {
    range.map(|(start, length)| format!("{length}@{start}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(text: &str) -> Result<Rendition, String> {
        let url = Url::parse("https://host.example/films/a.mpd").unwrap();
        DashPlaylists::default().read(text, &url, SystemTime::UNIX_EPOCH + Duration::from_secs(1000))
    }

    fn addresses(rendition: Rendition) -> Vec<String> {
        let Rendition::Playlist(text) = rendition else { panic!("{rendition:?}") };
        text.lines().filter(|line| !line.starts_with('#')).map(String::from).collect()
    }

    #[test]
    fn one_file_is_the_input_itself() {
        let file = read(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"><BaseURL>x/</BaseURL><Period>\
             <AdaptationSet contentType=\"audio\"><Representation bandwidth=\"9\"><BaseURL>s.mp4</BaseURL></Representation>\
             </AdaptationSet><AdaptationSet mimeType=\"video/mp4\"><Representation height=\"180\" width=\"320\">\
             <BaseURL>small.mp4</BaseURL></Representation><Representation height=\"360\" width=\"640\">\
             <BaseURL>large.mp4?a=1&amp;b=2</BaseURL><SegmentBase indexRange=\"0-9\"/></Representation></AdaptationSet>\
             </Period></MPD>",
        );
        let want = Url::parse("https://host.example/films/x/large.mp4?a=1&b=2").unwrap();
        assert_eq!(file.unwrap(), Rendition::File(want));
    }

    #[test]
    fn templates_are_filled() {
        let of =
            |template: &str| {
                addresses(read(&format!(
                "<MPD mediaPresentationDuration=\"PT5S\"><Period><AdaptationSet mimeType=\"video/mp4\">{template}\
                 <Representation id=\"v1\" bandwidth=\"77\"/></AdaptationSet></Period></MPD>"
            ))
            .unwrap())
            };
        let numbered =
            of("<SegmentTemplate media=\"$RepresentationID$/$Number%03d$-$Bandwidth$$$.m4s\" duration=\"2000\" \
                           timescale=\"1000\" startNumber=\"7\" initialization=\"i\"/>");
        let at = |name: &str| format!("https://host.example/films/{name}");
        assert_eq!(numbered, ["v1/007-77$.m4s", "v1/008-77$.m4s", "v1/009-77$.m4s"].map(at));
        let timed =
            of("<SegmentTemplate media=\"$Time$.m4s\" timescale=\"10\"><SegmentTimeline><S t=\"5\" d=\"20\" r=\"1\"/>\
                        <S d=\"3\"/><S d=\"2\" r=\"-1\"/></SegmentTimeline></SegmentTemplate>");
        assert_eq!(timed, ["5.m4s", "25.m4s", "45.m4s", "48.m4s"].map(at));
    }

    #[test]
    fn live_presentations_offer_what_is_there_under_lasting_numbers() {
        let mut playlists = DashPlaylists::default();
        let url = Url::parse("https://host.example/a.mpd").unwrap();
        let mut at = |second: u64| {
            let text = "<MPD type=\"dynamic\" availabilityStartTime=\"1970-01-01T00:00:00Z\" timeShiftBufferDepth=\"PT6S\">\
                        <Period start=\"PT0S\"><AdaptationSet contentType=\"video\"><SegmentTemplate media=\"$Number$\" \
                        duration=\"2\" startNumber=\"0\"/><Representation/></AdaptationSet></Period></MPD>";
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let Rendition::Playlist(text) = playlists.read(text, &url, now).unwrap() else { panic!("no playlist") };
            assert!(!text.contains("ENDLIST"), "{text}");
            let number = text.lines().find_map(|l| l.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap().to_string();
            let names =
                text.lines().filter_map(|l| l.strip_prefix("https://host.example/")).collect::<Vec<_>>().join(" ");
            (number.parse::<u64>().unwrap(), names)
        };
        assert_eq!(at(100), (0, "47 48 49".into()));
        assert_eq!(at(103), (1, "48 49 50".into()));
        assert_eq!(at(200), (4, "97 98 99".into()));
    }

    #[test]
    fn hostile_manifests_are_refused() {
        let of = |template: &str| {
            format!(
                "<MPD><Period duration=\"PT1S\"><AdaptationSet mimeType=\"video/mp4\">{template}<Representation/>\
                 </AdaptationSet></Period></MPD>"
            )
        };
        for text in [
            String::new(),
            "<MPD>".into(),
            "<MPD/>".into(),
            "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><MPD>&a;</MPD>".into(),
            of("<SegmentTemplate/>"),
            of("<SegmentTemplate media=\"$Secret$\"/>"),
            of("<SegmentTemplate media=\"$Number\"/>"),
            of("<SegmentTemplate media=\"http://[\"/>"),
            of("<SegmentTemplate media=\"a\" duration=\"1\" timescale=\"18446744073709551615\"/>"),
            of(
                "<SegmentTemplate media=\"a\"><SegmentTimeline><S d=\"1\" r=\"9223372036854775807\"/></SegmentTimeline></SegmentTemplate>",
            ),
            of(
                "<SegmentTemplate media=\"a\"><SegmentTimeline><S d=\"0\" r=\"-1\"/></SegmentTimeline></SegmentTemplate>",
            ),
            of("<SegmentTemplate media=\"a\" timescale=\"-1\"/>"),
            of("<SegmentList><SegmentURL media=\"a\" mediaRange=\"9-1\"/></SegmentList>"),
        ] {
            assert!(read(&text).is_err(), "{text}");
        }
    }
}
