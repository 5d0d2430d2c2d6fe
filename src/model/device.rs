//! Where graphs run: devices by name, their execution providers, and where they keep results.

use std::fmt;
use std::str::FromStr;

use ort::ep;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// A device that runs graphs. Written `cpu`, `cuda:1`, `tensorrt:0`, `coreml`, `openvino` or `directml:0`; the number
/// is optional and defaults to 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor; always present.
    #[default]
    Cpu,
    /// An NVIDIA GPU through CUDA, by number.
    Cuda(u32),
    /// An NVIDIA GPU through TensorRT, by number.
    TensorRt(u32),
    /// Apple's Core ML.
    CoreMl,
    /// Intel's OpenVINO.
    OpenVino,
    /// A GPU through DirectML on Windows, by number.
    DirectMl(u32),
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Device> {
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, number.parse::<u32>().ok()),
            None => (text, Some(0)),
        };
        let numbered = text.contains(':');
        let device = match (kind.to_ascii_lowercase().as_str(), number) {
            ("cpu", _) if !numbered => Some(Device::Cpu),
            ("cuda", Some(n)) => Some(Device::Cuda(n)),
            ("tensorrt", Some(n)) => Some(Device::TensorRt(n)),
            ("directml", Some(n)) => Some(Device::DirectMl(n)),
            ("coreml", _) if !numbered => Some(Device::CoreMl),
            ("openvino", _) if !numbered => Some(Device::OpenVino),
            _ => None,
        };
        device.ok_or_else(|| {
            Error::usage(
                format!("there is no device {text:?}"),
                message!["Set ", Setting::Device, " to cpu, cuda[:N], tensorrt[:N], directml[:N], coreml or openvino."],
            )
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
            Device::TensorRt(n) => write!(f, "tensorrt:{n}"),
            Device::CoreMl => write!(f, "coreml"),
            Device::OpenVino => write!(f, "openvino"),
            Device::DirectMl(n) => write!(f, "directml:{n}"),
        }
    }
}

impl Device {
    /// The execution provider of the device; `None` for the CPU, which every session has.
    pub(crate) fn provider(self) -> Result<Option<ep::ExecutionProviderDispatch>> {
        match self {
            Device::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            // 32-bit floats are multiplied as such, not as 19-bit ones, and algorithms are chosen by shape, not by a race
            // that another one may win the next time.
            Device::Cuda(n) => Ok(Some(
                ep::CUDA::default()
                    .with_device_id(n as i32)
                    .with_tf32(false)
                    .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
                    .build(),
            )),
            #[cfg(feature = "tensorrt")]
            Device::TensorRt(n) => Ok(Some(ep::TensorRT::default().with_device_id(n as i32).build())),
            #[cfg(feature = "coreml")]
            Device::CoreMl => Ok(Some(ep::CoreML::default().build())),
            #[cfg(feature = "openvino")]
            Device::OpenVino => Ok(Some(ep::OpenVINO::default().build())),
            #[cfg(feature = "directml")]
            Device::DirectMl(n) => Ok(Some(ep::DirectML::default().with_device_id(n as i32).build())),
            #[allow(unreachable_patterns)] // where every feature is on
            absent => {
                let text = absent.to_string();
                let feature = text.split(':').next().unwrap_or_default();
                Err(Error::runtime(
                    format!("the device {text} was requested, and this build of descry does not support it"),
                    message!["Set ", Setting::Device, format!(" to cpu, or build descry with `--features {feature}`.")],
                ))
            }
        }
    }
}

/// Whether a device can be used.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeviceState {
    /// ONNX Runtime has it. Whether there is a device of that kind shows when it is used.
    InLibrary,
    /// descry was built for it, and this ONNX Runtime was not.
    NotInLibrary,
    /// descry was built without it.
    #[allow(dead_code)] // where it is built for all
    NotBuilt,
    /// There is no ONNX Runtime that could be asked.
    Unknown,
}

#[cfg(feature = "cli")]
impl DeviceState {
    fn of_library(has_it: bool) -> DeviceState {
        if has_it { DeviceState::InLibrary } else { DeviceState::NotInLibrary }
    }

    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            DeviceState::InLibrary => "yes",
            DeviceState::NotInLibrary => "not in this ONNX Runtime",
            DeviceState::NotBuilt => "not in this build of descry",
            DeviceState::Unknown => "unknown",
        }
    }
}

/// Every kind of device, and whether it can be used. ONNX Runtime is only asked if it `is_loaded`.
#[cfg(feature = "cli")]
pub(crate) fn device_states(is_loaded: bool) -> Vec<(&'static str, DeviceState)> {
    macro_rules! state {
        ($name:literal, $provider:ident) => {{
            #[cfg(feature = $name)]
            let state = match is_loaded.then(<ep::$provider as ort::ep::ExecutionProvider>::is_available) {
                None => DeviceState::Unknown,
                Some(available) => DeviceState::of_library(available.unwrap_or(false)),
            };
            #[cfg(not(feature = $name))]
            let state = DeviceState::NotBuilt;
            ($name, state)
        }};
    }
    vec![
        ("cpu", if is_loaded { DeviceState::of_library(true) } else { DeviceState::Unknown }),
        state!("cuda", CUDA),
        state!("tensorrt", TensorRT),
        state!("coreml", CoreML),
        state!("openvino", OpenVINO),
        state!("directml", DirectML),
    ]
}

/// Where a graph's results are kept: in the host's memory, or in that of the device which runs the graph.
pub(crate) struct DeviceMemory {
    pub(crate) host: MemoryInfo<'static>,
    pub(crate) device: MemoryInfo<'static>,
    bound: bool,
}

impl DeviceMemory {
    /// `always` asks for bound results on every device.
    pub(crate) fn of(device: Device, always: bool) -> Result<DeviceMemory> {
        let own = match device {
            Device::Cuda(n) | Device::TensorRt(n) => Some((AllocationDevice::CUDA, n as i32)),
            Device::DirectMl(n) => Some((AllocationDevice::DIRECTML, n as i32)),
            // These read their inputs from the host's memory and leave their outputs there.
            Device::Cpu | Device::CoreMl | Device::OpenVino => None,
        };
        let info = |place: AllocationDevice<'static>, number| {
            MemoryInfo::new(place, number, AllocatorType::Device, MemoryType::Default).map_err(|e| {
                let remedy = message!["Set ", Setting::Device, " to cpu."];
                Error::runtime(format!("the memory of {device}: {e}"), remedy).with_source(e)
            })
        };
        let host = info(AllocationDevice::CPU, 0)?;
        let bound = own.is_some() || always;
        let (place, number) = own.unwrap_or((AllocationDevice::CPU, 0));
        Ok(DeviceMemory { host, device: info(place, number)?, bound })
    }

    /// Whether results that a later run reads stay where the device keeps them, in memory that the host may be unable to
    /// read.
    pub(crate) fn is_bound(&self) -> bool {
        self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written() {
        for text in ["cpu", "cuda:0", "cuda:3", "tensorrt:1", "coreml", "openvino", "directml:0"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!("CUDA".parse::<Device>().unwrap(), Device::Cuda(0));
        for text in ["", "gpu", "cpu:1", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(matches!(text.parse::<Device>(), Err(Error::Usage { .. })), "{text}");
        }
    }
}
