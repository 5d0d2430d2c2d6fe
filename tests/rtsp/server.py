"""An RTSP server for tests and benches, GStreamer's own.

Serves each path from its pipeline, in the syntax of gst-launch with payloaders named pay0, pay1. Prints its port on
standard output when it listens. Ends when standard input ends, so that it cannot outlive the process that started it.
"""

import argparse
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
gi.require_version("GstRtsp", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", help="port to listen on; 0: any free one")
    parser.add_argument("--user", help="name that clients must log in with")
    parser.add_argument("--password")
    parser.add_argument("--digest", action="store_true", help="never let them send the password itself")
    parser.add_argument("mounts", nargs="+", metavar="PATH=PIPELINE")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(args.port)
    if args.user:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "watcher")
        if args.digest:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(args.user, args.password, token)
        else:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(args.user, args.password), token)
        server.set_auth(auth)
    for mount in args.mounts:
        path, pipeline = mount.split("=", 1)
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {pipeline} )")
        if args.user:
            factory.add_role_from_structure(
                Gst.Structure.from_string("watcher,media.factory.access=true,media.factory.construct=true")[0]
            )
        server.get_mount_points().add_factory(path, factory)
    if server.attach(None) == 0:
        sys.exit("the server cannot listen")
    loop = GLib.MainLoop()

    def await_end() -> None:
        sys.stdin.read()
        loop.quit()

    threading.Thread(target=await_end, daemon=True).start()
    print(server.get_bound_port(), flush=True)
    loop.run()


main()
