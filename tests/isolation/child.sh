#!/bin/sh
# A child that lies: sends what is in the file beside it before it is asked, and reads what it is asked until its parent is
# done. `src/isolate/remote/tests.rs` starts it through a link.
/bin/cat "${0%/*}/replies" >&0
exec /bin/cat >/dev/null
