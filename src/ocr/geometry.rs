//! Points, hulls, and the smallest rectangles around them.

/// A point of a picture, in pixels from its top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Down.
    pub y: f64,
}

impl Point {
    /// The distance to another point.
    pub fn distance(self, other: Point) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// Four corners, clockwise.
pub type Quad = [Point; 4];

/// A rectangle of any direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct RotatedRect {
    pub(super) corners: Quad,
    /// Length of its shorter sides.
    pub(super) short: f64,
}

/// Twice the area of a triangle, positive if it turns right (with y downwards).
fn turn(a: Point, b: Point, c: Point) -> f64 {
    (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)
}

/// The convex hull of points, without points in the middle of an edge.
fn convex_hull(points: &mut Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    points.dedup();
    let mut hull: Vec<Point> = Vec::with_capacity(points.len().min(64));
    // The chain below, then the one above.
    for pass in 0..2 {
        let least = hull.len() + usize::from(pass == 0);
        let chain: Box<dyn Iterator<Item = &Point>> =
            if pass == 0 { Box::new(points.iter()) } else { Box::new(points.iter().rev().skip(1)) };
        for point in chain {
            while hull.len() > least.max(1) && turn(hull[hull.len() - 2], hull[hull.len() - 1], *point) <= 0.0 {
                hull.pop();
            }
            hull.push(*point);
        }
    }
    if hull.len() > 1 && hull.first() == hull.last() {
        hull.pop();
    }
    hull
}

/// The rectangle of least area around points; none if there are none.
pub(super) fn min_area_rect(mut points: Vec<Point>) -> Option<RotatedRect> {
    let hull = convex_hull(&mut points);
    let first = *hull.first()?;
    let mut best: Option<(f64, RotatedRect)> = None;
    for (n, start) in hull.iter().enumerate() {
        let end = hull[(n + 1) % hull.len()];
        let length = start.distance(end);
        // A single point has no edge.
        let (ux, uy) = if length > 0.0 { ((end.x - start.x) / length, (end.y - start.y) / length) } else { (1.0, 0.0) };
        let mut along = (f64::INFINITY, f64::NEG_INFINITY);
        let mut across = along;
        for p in &hull {
            let (dx, dy) = (p.x - first.x, p.y - first.y);
            let (a, c) = (dx * ux + dy * uy, dy * ux - dx * uy);
            along = (along.0.min(a), along.1.max(a));
            across = (across.0.min(c), across.1.max(c));
        }
        let (width, height) = (along.1 - along.0, across.1 - across.0);
        let area = width * height;
        if best.as_ref().is_none_or(|(least, _)| area < *least) {
            let corner = |a: f64, c: f64| Point { x: first.x + a * ux - c * uy, y: first.y + a * uy + c * ux };
            let corners = [
                corner(along.0, across.0),
                corner(along.1, across.0),
                corner(along.1, across.1),
                corner(along.0, across.1),
            ];
            best = Some((area, RotatedRect { corners, short: width.min(height) }));
        }
    }
    best.map(|(_, rect)| rect)
}

/// Corners in order: the upper and the lower of the two at the left, and so at the right, clockwise from the upper left.
pub(super) fn ordered(corners: Quad) -> Quad {
    let mut sorted = corners;
    sorted.sort_by(|a, b| a.x.total_cmp(&b.x));
    let [a, b, c, d] = sorted;
    let (top_left, bottom_left) = if b.y > a.y { (a, b) } else { (b, a) };
    let (top_right, bottom_right) = if d.y > c.y { (c, d) } else { (d, c) };
    [top_left, top_right, bottom_right, bottom_left]
}

/// The area inside corners.
pub(super) fn area(corners: &Quad) -> f64 {
    edges(corners).map(|(a, b)| a.x * b.y - b.x * a.y).sum::<f64>().abs() / 2.0
}

/// The length of the way around corners.
pub(super) fn perimeter(corners: &Quad) -> f64 {
    edges(corners).map(|(a, b)| a.distance(b)).sum()
}

/// The edges between corners.
pub(super) fn edges(corners: &Quad) -> impl Iterator<Item = (Point, Point)> + '_ {
    (0..4).map(|n| (corners[n], corners[(n + 1) % 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(points: &[(f64, f64)]) -> Vec<Point> {
        points.iter().map(|&(x, y)| Point { x, y }).collect()
    }

    #[test]
    fn the_smallest_rectangle_may_be_turned() {
        // A square on its corner, with points inside and on its edges.
        let rect = min_area_rect(points(&[(0.0, 5.0), (5.0, 0.0), (10.0, 5.0), (5.0, 10.0), (5.0, 5.0), (2.5, 2.5)]));
        let rect = rect.unwrap();
        assert!((rect.short - 50f64.sqrt()).abs() < 1e-9);
        assert!((area(&rect.corners) - 50.0).abs() < 1e-9);
        assert!((perimeter(&rect.corners) - 4.0 * 50f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn points_and_lines_have_rectangles_without_area() {
        assert!(min_area_rect(Vec::new()).is_none());
        assert_eq!(min_area_rect(points(&[(3.0, 4.0), (3.0, 4.0)])).unwrap().short, 0.0);
        let line = min_area_rect(points(&[(0.0, 0.0), (4.0, 3.0), (8.0, 6.0)])).unwrap();
        assert!(line.short < 1e-9 && (perimeter(&line.corners) - 20.0).abs() < 1e-9);
    }

    #[test]
    fn corners_begin_at_the_upper_left() {
        let p = |x, y| Point { x, y };
        let expected = [p(0.0, 0.0), p(9.0, 1.0), p(9.0, 5.0), p(0.0, 4.0)];
        for n in 0..4 {
            let mut turned = expected;
            turned.rotate_left(n);
            assert_eq!(ordered(turned), expected);
        }
    }
}
