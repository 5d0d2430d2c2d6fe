//! Options of placing descriptions.

use clap::{Args, ValueEnum};

use super::values;
use crate::error::{Error, Result};
use crate::time::Time;
use crate::track::place::{PlaceOptions, PlaceRule};

/// When descriptions are spoken.
#[derive(Args)]
#[command(next_help_heading = "Placement")]
pub(super) struct PlaceArgs {
    /// Where descriptions stand
    #[arg(long, value_name = "RULE", value_enum, default_value = "pauses")]
    place: PlaceChoice,
    /// Words spoken in a minute, by which the length of a description is estimated
    #[arg(long, value_name = "WORDS", default_value_t = 160, value_parser = clap::value_parser!(u32).range(40..=600))]
    speaking_pace: u32,
    /// How long before its scene a description may begin, at most 10
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "2")]
    lead: Time,
    /// Rest between two descriptions, at most 10; a shorter one only for what is worth it
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "2")]
    rest: Time,
}

/// Where descriptions stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlaceChoice {
    /// In the pauses of speech, as short as it takes to speak them; over speech only as a last resort
    Pauses,
    /// In the pauses of speech, never over speech
    Strict,
    /// For the whole of their scenes, even over speech
    Free,
}

impl PlaceArgs {
    /// How descriptions are placed; none if they stand at the beginning of their scenes. `min_duration`: the shortest.
    pub(super) fn options(&self, min_duration: Time) -> Option<PlaceOptions> {
        let rule = match self.place {
            PlaceChoice::Pauses => PlaceRule::Pauses,
            PlaceChoice::Strict => PlaceRule::Strict,
            PlaceChoice::Free => return None,
        };
        Some(PlaceOptions {
            rule,
            pace: self.speaking_pace,
            lead: self.lead,
            rest: self.rest,
            extended: false,
            min_duration,
        })
    }
}

/// Whether the film pauses.
#[derive(Args)]
#[command(next_help_heading = "Placement")]
pub(super) struct ExtendedArgs {
    /// Pause the film for what fits no pause of speech, if its scene is long and new
    ///
    /// Nothing is spoken over speech then. Players, or 'descry speak --extended', pause the film where the cue of such an
    /// extended description begins.
    #[arg(long)]
    extended: bool,
}

impl ExtendedArgs {
    /// Refuses them where nothing is placed in pauses.
    pub(super) fn check(&self, place: &PlaceArgs) -> Result<()> {
        if self.extended && place.place == PlaceChoice::Free {
            let cause = "--extended is for what fits no pause of speech, and --place free regards none";
            return Err(Error::usage(cause, "Choose --place pauses or strict, or leave out --extended."));
        }
        Ok(())
    }

    /// The options with this one.
    pub(super) fn apply(&self, place: Option<PlaceOptions>) -> Option<PlaceOptions> {
        place.map(|place| PlaceOptions { extended: self.extended, ..place })
    }
}
