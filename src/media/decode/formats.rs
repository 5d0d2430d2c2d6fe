//! Which formats an input may have.
//!
//! A file is read by the demuxers of this list only: containers, elementary streams and pictures, whose whole content is in
//! the file. Left out is what names other files or addresses (playlists, session descriptions), devices, scripts, and
//! formats without pictures that people never have as a video. On a web server, HLS is read too: what it names goes
//! through [the same checks](super::nested).

use std::ffi::{CStr, CString};

use ffmpeg_next::ffi;

/// Containers of pictures, and of pictures and sound.
const CONTAINERS: &str = "3dostr,4xm,aa,alp,amv,anm,apm,apng,argo_asf,argo_brp,argo_cvg,asf,asf_o,avi,avr,avs,bethsoftvid,\
    bfi,bink,binka,bmv,brender_pix,c93,cavsvideo,cdg,cdxl,cine,dcstr,dfa,dhav,dsicin,dss,dv,dvbsub,dvbtxt,dxa,ea,ea_cdata,\
    epaf,evc,film_cpk,filmstrip,fits,flic,flv,frm,gdv,gif,gxf,hnm,iamf,ico,idcin,iff,ifv,ipmovie,ipu,iss,iv8,ivf,ivr,jv,\
    jpegxl_anim,kux,live_flv,lmlm4,luodat,lvf,lxf,matroska,webm,mcc,mgsts,mjpeg,mjpeg_2000,mlv,mm,mods,moflex,mov,mp4,m4a,\
    3gp,3g2,mj2,mpeg,mpegts,mpegtsraw,mpegvideo,mpjpeg,msnwctcp,mtv,mv,mvi,mxf,mxg,nc,nsv,nut,nuv,ogg,paf,pmp,pp_bnk,\
    psxstr,pva,pvf,r3d,rcwt,rl2,rm,roq,rpl,rsd,scd,sdns,sdr2,segafilm,ser,sga,sgi,siff,simbiosis_imx,smjpeg,smk,smush,swf,\
    thp,tiertexseq,tmv,ty,txd,usm,vc1,vc1test,vidc,vividas,vivo,vmd,vpk,wc3movie,webp_anim,wsvqa,wtv,wve,xmv,yop,\
    yuv4mpegpipe";
/// Streams of pictures without a container.
const STREAMS: &str = "alias_pix,apv,av1,avs2,avs3,bitpacked,dirac,dnxhd,h261,h263,h264,hevc,ingenient,m4v,obu,\
    pgmyuv_pipe,rawvideo,v210,v210x,vvc";
/// Pictures. FFmpeg takes a single one for a short film.
const PICTURES: &str = "image2,image2pipe,bmp_pipe,cri_pipe,dds_pipe,dpx_pipe,exr_pipe,gem_pipe,gif_pipe,hdr_pipe,j2k_pipe,\
    jpeg_pipe,jpegls_pipe,jpegxl_pipe,jpegxs_pipe,pam_pipe,pbm_pipe,pcx_pipe,pfm_pipe,pgm_pipe,pgx_pipe,phm_pipe,\
    photocd_pipe,pictor_pipe,png_pipe,ppm_pipe,psd_pipe,qdraw_pipe,qoi_pipe,sgi_pipe,sunrast_pipe,tiff_pipe,vbn_pipe,\
    webp_pipe,xbm_pipe,xpm_pipe,xwd_pipe";
/// Sound and texts: those that come with pictures in a playlist, or hold a cover, and those that are common enough for the
/// message that there is no video in them.
const OTHERS: &str = "aac,ac3,aiff,amr,ape,au,caf,dts,dtshd,eac3,flac,mlp,mp3,mpc,mpc8,oma,sup,tak,truehd,tta,w64,wav,wv,\
    ass,srt,webvtt";
/// Playlists on web servers.
const PLAYLISTS: &str = "hls";
/// Streams that have protocols of their own.
const SESSIONS: &str = "rtsp,rtp";

/// Where an input comes from, as far as that decides what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file, or an object of an object store.
    File,
    /// A web server.
    Web,
    /// Another server.
    Stream,
}

impl Origin {
    /// FFmpeg's names of the formats that an input may have, separated by commas.
    pub(super) fn formats(self) -> String {
        let more = match self {
            Origin::File => "",
            Origin::Web => PLAYLISTS,
            Origin::Stream => SESSIONS,
        };
        let all = [CONTAINERS, STREAMS, PICTURES, OTHERS, more];
        all.iter().filter(|list| !list.is_empty()).copied().collect::<Vec<&str>>().join(",")
    }

    /// FFmpeg's name of the format of some first bytes, if it has one that an input must not have.
    pub(super) fn forbidden_format(self, address: &CStr, head: &[u8]) -> Option<String> {
        let name = guess(address, head)?;
        let formats = self.formats();
        (!name.split(',').any(|name| formats.split(',').any(|allowed| allowed == name))).then_some(name)
    }
}

/// FFmpeg's name of the format that some first bytes have.
fn guess(address: &CStr, head: &[u8]) -> Option<String> {
    let mut padded = head.to_vec();
    padded.resize(head.len() + ffi::AVPROBE_PADDING_SIZE as usize, 0);
    // SAFETY: a plain structure of C whose fields are set to what FFmpeg asks for: a name, and bytes with their padding.
    // The format that it finds is static data.
    unsafe {
        let mut probe: ffi::AVProbeData = std::mem::zeroed();
        probe.filename = address.as_ptr();
        probe.buf = padded.as_mut_ptr();
        probe.buf_size = i32::try_from(head.len()).ok()?;
        let mut score = 0;
        let found = ffi::av_probe_input_format3(&raw const probe, 1, &raw mut score);
        if found.is_null() || (*found).name.is_null() {
            return None;
        }
        Some(CStr::from_ptr((*found).name).to_string_lossy().into_owned())
    }
}

/// What to do about a format that an input must not have.
pub(super) fn remedy(format: &str, origin: Origin) -> &'static str {
    match (format, origin) {
        ("hls" | "hls,applehttp", Origin::File) => {
            "Name the videos that it lists, or give the address at which a web server has it."
        }
        ("hls" | "hls,applehttp" | "dash" | "webm_dash_manifest" | "concat" | "imf" | "sdp" | "vobsub", _) => {
            "An input must hold its own video. Name the videos that it lists."
        }
        _ => "Convert it to a common format first, such as MP4 or Matroska.",
    }
}

/// FFmpeg's own pointer to a format with this name; none if it has no such format.
pub(super) fn find(name: &CString) -> Option<*const ffi::AVInputFormat> {
    // SAFETY: the name is a C string; what is found is static data of FFmpeg.
    let found: *const ffi::AVInputFormat = unsafe { ffi::av_find_input_format(name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_no_format_of_a_file() {
        let files = Origin::File.formats();
        let files: Vec<&str> = files.split(',').collect();
        for name in [
            "hls",
            "applehttp",
            "dash",
            "concat",
            "concatf",
            "sdp",
            "rtsp",
            "rtp",
            "sap",
            "imf",
            "lavfi",
            "v4l2",
            "video4linux2",
            "x11grab",
            "kmsgrab",
            "fbdev",
            "vapoursynth",
            "avisynth",
            "vobsub",
            "webm_dash_manifest",
            "dvdvideo",
            "libopenmpt",
            "libgme",
            "svg_pipe",
            "data",
            "ffmetadata",
            "",
        ] {
            assert!(!files.contains(&name), "{name}");
        }
    }

    #[test]
    fn forbidden_formats_are_named() {
        let list = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n";
        assert_eq!(Origin::File.forbidden_format(c"holiday.mp4", list).as_deref(), Some("hls"));
        assert_eq!(Origin::Web.forbidden_format(c"holiday.mp4", list), None);
        let list = b"ffconcat version 1.0\nfile other.mp4\n";
        assert_eq!(Origin::Web.forbidden_format(c"holiday.mp4", list).as_deref(), Some("concat"));
        assert_eq!(Origin::File.forbidden_format(c"holiday.mp4", b"no format at all"), None);
    }
}
