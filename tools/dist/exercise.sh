#!/bin/sh
# What a new user would try, in a system with nothing else in it, as an ordinary user. Each step fails if its output is not
# what it should be.
#   exercise.sh FILMS RESULTS    with descry in the search path
set -eu
films=$1 results=$2
cd "$(mktemp -d)"
say() { printf 'exercise: %s\n' "$*" >&2; }
holds() { grep -q -- "$1" "$2" || { say "$2 lacks $1"; cat "$2" >&2; exit 1; }; }

say "text on the screen, a decoder of its own, four formats"
descry -q describe "$films/bigbuckbunny-opening.webm" --text --isolate -f vtt,srt,json,csv -o made
holds 'Text:' made/bigbuckbunny-opening.vtt

say "AV1, and each codec of a new track"
printf 'WEBVTT\n\n00:01.000 --> 00:03.000\nA bird.\n' >one.vtt
for name in a.mkv a.mp4 a.m4a a.opus a.mp3 a.flac a.wav a.mov; do
    descry -q speak "$films/bikes.mp4" --descriptions one.vtt --voice-command "cat $results/voice.wav" -o "$name"
    descry probe "$name" >probe.txt
    holds audio probe.txt
done
descry -q speak "$films/tears-of-steel.webm" --descriptions one.vtt --extended --voice-command "cat $results/voice.wav" -o a.webm
holds vp9 "$(descry probe a.webm >probe.txt && echo probe.txt)"

say "a stream"
timeout 20 descry -q live --realtime "$films/bikes.mp4" >live.txt || [ $? = 124 ]
holds '"type":"caption"' live.txt

say "an archive"
descry -q index "$films/bikes.mp4" --into archive
descry -q search archive/ "a bicycle" >found.txt
holds bikes found.txt
