//! Pictures of words, for films that show some. No font is needed.

/// Five columns of seven rows.
const LETTERS: [(char, [&str; 7]); 10] = [
    ('A', [".###.", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"]),
    ('B', ["####.", "#...#", "#...#", "####.", "#...#", "#...#", "####."]),
    ('E', ["#####", "#....", "#....", "####.", "#....", "#....", "#####"]),
    ('G', [".###.", "#...#", "#....", "#.###", "#...#", "#...#", ".####"]),
    ('I', ["#####", "..#..", "..#..", "..#..", "..#..", "..#..", "#####"]),
    ('K', ["#...#", "#..#.", "#.#..", "##...", "#.#..", "#..#.", "#...#"]),
    ('N', ["#...#", "##..#", "##..#", "#.#.#", "#..##", "#..##", "#...#"]),
    ('R', ["####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"]),
    ('S', [".####", "#....", "#....", ".###.", "....#", "....#", "####."]),
    ('W', ["#...#", "#...#", "#...#", "#.#.#", "#.#.#", "##.##", "#...#"]),
];

/// A line of capitals, white on black, as a PGM of six pixels a letter: enlarge it.
pub(crate) fn line(text: &str) -> Vec<u8> {
    let (width, height) = (text.chars().count() * 6 + 6, 13);
    let mut pixels = vec![0u8; width * height];
    for (n, c) in text.chars().enumerate().filter(|(_, c)| *c != ' ') {
        let rows = LETTERS.iter().find(|(letter, _)| *letter == c).unwrap_or_else(|| panic!("no letter {c}")).1;
        for (y, row) in rows.iter().enumerate() {
            for (x, _) in row.bytes().enumerate().filter(|(_, ink)| *ink == b'#') {
                pixels[(y + 3) * width + n * 6 + x + 3] = 255;
            }
        }
    }
    [format!("P5 {width} {height} 255\n").as_bytes(), &pixels].concat()
}
