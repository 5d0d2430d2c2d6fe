use proptest::prelude::*;

use super::sentence_of;

/// Each answer, and the caption that is in it.
fn check(cases: &[(&str, &str)]) {
    for (answer, caption) in cases {
        assert_eq!(sentence_of(answer), *caption, "{answer:?}");
    }
}

#[test]
fn plain_sentences_stay() {
    check(&[
        ("A dog runs across a lawn.", "A dog runs across a lawn"),
        ("a dog", "a dog"),
        ("  A dog\n", "A dog"),
        ("Ein Hund läuft über die Wiese.", "Ein Hund läuft über die Wiese"),
        ("A man looks at a picture of a dog.", "A man looks at a picture of a dog"),
        ("A picture of a dog hangs on a wall.", "A picture of a dog hangs on a wall"),
        ("Sure-footed goats climb a cliff.", "Sure-footed goats climb a cliff"),
        ("The image of a saint hangs in a church.", "The image of a saint hangs in a church"),
        ("The scene is dark.", "The scene is dark"),
        ("The photographer shows a dog.", "The photographer shows a dog"),
        ("This is a dog.", "This is a dog"),
        ("What a view!", "What a view!"),
        ("犬が走っている。空は青い。", "犬が走っている。"),
        ("Yesterday's newspaper lies on a table.", "Yesterday's newspaper lies on a table"),
        ("Here is a dog.", "Here is a dog"),
        ("A clock shows 10:30.", "A clock shows 10:30"),
        ("Two people pose for a picture: a man and a dog.", "Two people pose for a picture: a man and a dog"),
        ("This is the result of rain.", "This is the result of rain"),
        ("Great white sharks swim.", "Great white sharks swim"),
    ]);
}

#[test]
fn the_first_sentence_is_taken() {
    check(&[
        ("A dog runs. It is brown.", "A dog runs"),
        ("A dog runs! It is brown.", "A dog runs!"),
        ("A dog runs.\nIt is brown.", "A dog runs"),
        ("A dog runs\nacross a lawn.\nIt is brown.", "A dog runs across a lawn"),
        ("A dog runs.\n\nThe lawn is green.", "A dog runs"),
        ("A man says \"Stop.\" Then he leaves.", "A man says \"Stop.\""),
        ("A dog... The end.", "A dog"),
        ("A dog. 3 cats.", "A dog"),
    ]);
}

#[test]
fn abbreviations_initials_and_decimals_do_not_end_a_sentence() {
    check(&[
        ("Tourists stand before St. Mark's Basilica.", "Tourists stand before St. Mark's Basilica"),
        ("Mr. and Mrs. Smith meet Dr. No. They smile.", "Mr. and Mrs. Smith meet Dr. No"),
        ("A sign reads 3.5 km. Cars pass.", "A sign reads 3.5 km"),
        ("J. Smith of the U.S. Army waves. A flag.", "J. Smith of the U.S. Army waves"),
        ("A bus of line No. 5 waits.", "A bus of line No. 5 waits"),
        ("Fruit, e.g. Apples, on a table.", "Fruit, e.g. Apples, on a table"),
        ("A page of example.com is open.", "A page of example.com is open"),
        ("A clock shows 5 p.m. The street is empty.", "A clock shows 5 p.m"),
        ("Apples, pears, etc. on a table.", "Apples, pears, etc. on a table"),
        ("\"Stop!\" says a sign.", "\"Stop!\" says a sign"),
        ("A team scores vs. Brazil.", "A team scores vs. Brazil"),
    ]);
}

#[test]
fn quotes_around_everything_go_and_others_stay() {
    check(&[
        ("\"A dog runs.\"", "A dog runs"),
        ("'A dog runs.'", "A dog runs"),
        ("“A dog runs.”", "A dog runs"),
        ("„Ein Hund läuft.“", "Ein Hund läuft"),
        ("«Un chien court.»", "Un chien court"),
        ("\"A dog runs\".", "A dog runs"),
        ("'A dog's bowl'", "A dog's bowl"),
        ("\"A dog runs.\" This describes the picture.", "A dog runs"),
        ("\"\"A dog\"\"", "A dog"),
        ("A sign that says \"Open\"", "A sign that says \"Open\""),
        ("\"Open\" is on a sign", "\"Open\" is on a sign"),
        ("\"A dog runs", "A dog runs"),
    ]);
}

#[test]
fn markdown_goes() {
    check(&[
        ("**A dog** runs *fast*.", "A dog runs fast"),
        ("__A dog__ runs _fast_.", "A dog runs fast"),
        ("**A dog runs.**", "A dog runs"),
        ("# Description\n\nA dog runs.", "A dog runs"),
        ("## A dog runs", "A dog runs"),
        ("- A dog runs.\n- It is brown.", "A dog runs"),
        ("1. A dog runs\n2. A cat sleeps", "A dog runs"),
        ("* **A dog**: it runs.", "A dog: it runs"),
        ("> A dog runs.", "A dog runs"),
        ("```\nA dog runs.\n```", "A dog runs"),
        ("```text\nA dog runs.\n```\nDone.", "A dog runs"),
        ("```A dog runs.```", "A dog runs"),
        ("`A dog runs.`", "A dog runs"),
        ("A [dog](http://h/x) runs.", "A dog runs"),
        ("![A dog](dog.png) runs.", "A dog runs"),
        ("---\nA dog runs.\n---", "A dog runs"),
        ("A file snake_case.txt and 2*3 on a screen", "A file snake_case.txt and 2*3 on a screen"),
        ("**Description:**\n\nA dog runs.", "A dog runs"),
        ("**Caption:** A dog runs.", "A dog runs"),
        ("3.5 km to the beach", "3.5 km to the beach"),
    ]);
}

#[test]
fn greetings_and_announcements_go() {
    check(&[
        ("Sure! Here is a description: A dog runs.", "A dog runs"),
        ("Sure! Here is a description of the image:\n\nA dog runs.", "A dog runs"),
        ("Sure, here's a one-sentence description of the picture: \"A dog runs.\"", "A dog runs"),
        ("Certainly! The image shows a dog.", "a dog"),
        ("Of course. A dog runs.", "A dog runs"),
        ("Here is a caption:\nA dog runs.", "A dog runs"),
        ("Here is the description.\nA dog runs.", "A dog runs"),
        ("Description: A dog runs.", "A dog runs"),
        ("Short image description: a dog", "a dog"),
        ("Alt text: a dog", "a dog"),
        ("Image: a dog", "a dog"),
        ("**Image Description:** The image shows a dog.", "a dog"),
        ("This is a description of the picture: a dog.", "a dog"),
        ("Assistant: a dog", "a dog"),
        ("Okay\n\nA dog runs.", "A dog runs"),
        ("Sure!", ""),
        ("Here is a description:", ""),
    ]);
}

#[test]
fn phrases_about_the_picture_go() {
    check(&[
        ("The image shows a dog", "a dog"),
        ("The image shows a dog.", "a dog"),
        ("This picture depicts a dog on a lawn.", "a dog on a lawn"),
        ("The picture shows that a dog runs.", "a dog runs"),
        ("In this image, we can see a dog.", "a dog"),
        ("In the picture there is a dog.", "a dog"),
        ("In this photo, a man rides a bike.", "a man rides a bike"),
        ("This is a picture of a dog.", "a dog"),
        ("This is an image showing a dog.", "a dog"),
        ("The image is a photo of a dog.", "a dog"),
        ("The video frame captures a dog.", "a dog"),
        ("THE IMAGE SHOWS A DOG.", "A DOG"),
        ("I can see a dog.", "a dog"),
        ("The photo features: a dog", "a dog"),
        ("The scene shows Ähren im Wind.", "Ähren im Wind"),
    ]);
}

#[test]
fn thoughts_and_special_tokens_go() {
    check(&[
        ("<think>It is a cat. No, a dog.</think>\nA dog runs.", "A dog runs"),
        ("It is a cat.\n</think>\n\nA dog runs.", "A dog runs"),
        ("<THINK>hm</THINK>A dog<think>again</think> runs.", "A dog runs"),
        ("<think>It is a dog that", ""),
        ("<thinking>é</thinking>A dog", "A dog"),
        ("A dog runs.<|im_end|>", "A dog runs"),
        ("A dog runs.</s>", "A dog runs"),
    ]);
}

#[test]
fn refusals_leave_nothing() {
    check(&[
        ("I'm sorry, I can't help with that.", ""),
        ("I’m sorry, but I can’t describe people.", ""),
        ("Sorry, I cannot see the picture.", ""),
        ("I cannot identify the people in this image. The image shows two men.", ""),
        ("**I'm unable to view images.**", ""),
        ("\"I apologize, but no image was provided.\"", ""),
        ("As an AI language model, I see nothing.", ""),
        ("Unfortunately, I can't see it.", ""),
        ("Sure! I'm sorry, I can't.", ""),
        // These describe.
        ("Sorry-looking flowers in a vase.", "Sorry-looking flowers in a vase"),
        ("I'm Sorrynot is written on a shirt.", "I'm Sorrynot is written on a shirt"),
    ]);
}

#[test]
fn what_is_no_text_leaves_nothing() {
    check(&[("", ""), (" \n\t", ""), ("...", ""), ("***", ""), ("\"\"", ""), ("#", ""), ("```\n```", ""), ("-", "")]);
}

#[test]
fn captions_have_a_limit() {
    let long = "word ".repeat(1_000);
    let caption = sentence_of(&long);
    assert!(caption.chars().count() <= 500 && caption.ends_with("word"), "{caption}");
    assert_eq!(sentence_of(&"é".repeat(2_000)).chars().count(), 500);
}

proptest! {
    #[test]
    fn any_text_is_taken_without_a_panic_and_gives_one_line(text in "\\PC{0,200}|([a-z'\"*_`#>.!:<>/ \n-]|the |image |shows |think){0,80}") {
        let caption = sentence_of(&text);
        prop_assert!(!caption.contains('\n'));
        prop_assert!(caption.chars().count() <= 500);
    }
}
