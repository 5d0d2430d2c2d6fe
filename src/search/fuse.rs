//! Two lists of results made one: reciprocal rank fusion.

/// The constant of Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
/// Methods" (SIGIR 2009): 1 / (60 + place), summed up over the lists, with places from 1.
pub const K: f64 = 60.0;

/// The share that one list gives to a result, by its place from 1; none where it is not in that list.
pub fn share(place: Option<usize>) -> f64 {
    place.map_or(0.0, |place| 1.0 / (K + place as f64))
}

/// The fused score of a result from its places.
pub fn fused(places: &[Option<usize>]) -> f64 {
    places.iter().map(|p| share(*p)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_published() {
        assert_eq!(fused(&[Some(1), Some(3)]), 1.0 / 61.0 + 1.0 / 63.0);
        assert_eq!(fused(&[None, Some(2)]), 1.0 / 62.0);
        assert_eq!(fused(&[None, None]), 0.0);
    }

    proptest! {
        #[test]
        fn better_places_never_hurt(a in 1usize..1000, b in prop::option::of(1usize..1000), c in 1usize..1000) {
            let (near, far) = (a.min(c), a.max(c));
            prop_assert!(fused(&[Some(near), b]) >= fused(&[Some(far), b]));
            prop_assert!(fused(&[Some(a), b]) > fused(&[None, b]));
            prop_assert_eq!(fused(&[Some(a), b]), fused(&[b, Some(a)]));
        }
    }
}
