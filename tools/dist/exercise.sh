#!/bin/sh
# What a new user would try, in a system with nothing else in it, as an ordinary user. Each step fails if its output is not
# what it should be.
#   exercise.sh FILMS RESULTS NAME    with descry in the search path; writes RESULTS/NAME/*.vtt
set -eu
films=$1 results=$2 name=$3
mkdir "$results/$name"
work=$(mktemp -d)
cd "$work"
log() { printf 'exercise: %s\n' "$*" >&2; }
holds() { grep -q -- "$1" "$2" || { log "$2 lacks $1:"; cat "$2" >&2; exit 1; }; }

log "films of many codecs"
descry -q describe "$results"/films/* -o "$results/$name/" --min-score 0

log "text on the screen, a decoder of its own, four formats"
descry -q describe "$films/bigbuckbunny-opening.webm" --text --isolate -f vtt,srt,json,csv -o made/
holds 'Text:' made/bigbuckbunny-opening.vtt

log "each codec and container of a new track"
printf 'WEBVTT\n\n00:01.000 --> 00:03.000\nA bird.\n' >one.vtt
for film in a.mkv a.mp4 a.m4a a.opus a.mp3 a.flac a.wav a.mov; do
    descry -q speak "$films/bikes.mp4" --descriptions one.vtt --voice-command "cat $results/voice.wav" -o "$film"
    [ -s "$film" ]
done

log "a film that pauses"
descry -q speak "$films/signing.mkv" --descriptions one.vtt --extended --voice-command "cat $results/voice.wav" -o a.webm
descry probe a.webm >probe.txt
holds vp9 probe.txt

log "a stream, and the protocols of others"
timeout 20 descry -q live --realtime "$films/bikes.mp4" >live.txt || [ $? = 124 ]
holds '"type":"caption"' live.txt
for address in srt://127.0.0.1:9 rtmp://127.0.0.1:9/a rtsp://127.0.0.1:9/a; do
    timeout 5 descry live "$address" >live.txt 2>&1 || true
    holds 'next try' live.txt
    if grep -i 'protocol not found' live.txt; then exit 1; fi
done

log "an archive"
descry -q index "$films/bikes.mp4" --into archive
descry -q search archive/ a bicycle >found.txt
holds bikes found.txt
