// Takes the place of a decoder with a vulnerability: loaded with LD_PRELOAD, it misbehaves while it decodes films that are
// 322 pixels wide. Their height says how.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libavcodec/avcodec.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// Before the film's end, and after its header.
#define PACKET 20

static void report(const char *what, long result) {
    char line[120];
    int n = snprintf(line, sizeof line, "probe %s: %s\n", what, result < 0 ? strerrorname_np(errno) : "allowed");
    (void)!write(2, line, n);
}

static void probe(void) {
    report("read the input", open("probe.mp4", O_RDONLY));
    report("read a library's folder", open("/usr/lib", O_RDONLY | O_DIRECTORY));
    report("read another video", open("other.mp4", O_RDONLY));
    report("read the home folder", open(".", O_RDONLY | O_DIRECTORY));
    report("read a secret", open("/etc/passwd", O_RDONLY));
    report("write the input", open("probe.mp4", O_RDWR));
    report("append to the input", open("probe.mp4", O_WRONLY | O_APPEND));
    report("create a file", open("new", O_WRONLY | O_CREAT, 0600));
    report("create a folder", mkdir("newer", 0700));
    report("remove a file", unlink("victim"));
    report("rename a file", rename("victim-2", "renamed"));
    report("link a file", symlink("/etc", "link"));
    report("open a TCP socket", socket(AF_INET, SOCK_STREAM, 0));
    report("open a UDP socket", socket(AF_INET6, SOCK_DGRAM, 0));
    report("open a local socket", socket(AF_UNIX, SOCK_STREAM, 0));
    // Without an effect where it is allowed.
    int e = 0;
    errno = 0;
    execve("", NULL, NULL);
    e = errno;
    errno = e;
    report("run a program", e == ENOENT || e == EFAULT ? 0 : -1);
    long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        syscall(SYS_exit_group, 0);
    report("start a process", child);
    long traced = ptrace(PTRACE_PEEKDATA, getppid(), 0, 0);
    report("trace the parent", traced < 0 && errno == ESRCH ? 0 : traced);
    report("signal the parent", kill(getppid(), 0));
    char byte;
    struct iovec own = {&byte, 1}, its = {&byte, 1};
    long read = process_vm_readv(getpid(), &own, 1, &its, 1, 0);
    report("read a process's memory", read);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", getppid());
    report("read the parent's environment", open(path, O_RDONLY));
    char ring[128] = {0};
    report("make an io_uring", syscall(SYS_io_uring_setup, 1, ring));
}

static void act(int height) {
    char noise[4096];
    memset(noise, 0xA5, sizeof noise);
    switch (height) {
    case 102:
        *(volatile int *)8 = 1;
        break;
    case 104:
        abort();
    case 106:
        for (volatile int i = 0;; i++) {
        }
    case 108:
        for (size_t piece = 16 << 20;;) {
            void *taken = malloc(piece);
            if (!taken)
                abort();
            memset(taken, 1, piece);
        }
    case 110:
        exit(0);
    case 112:
        // Standard input is the socket to the parent.
        (void)!write(0, noise, sizeof noise);
        pause();
        break;
    case 114: {
        // A message of the right length that says nothing.
        unsigned length = 64;
        (void)!write(0, &length, sizeof length);
        (void)!write(0, noise, length);
        pause();
        break;
    }
    case 116:
        kill(getpid(), SIGKILL);
        break;
    case 118:
        probe();
        break;
    }
}

int avcodec_send_packet(AVCodecContext *context, const AVPacket *packet) {
    static int (*real)(AVCodecContext *, const AVPacket *);
    static int packets;
    if (!real)
        real = (int (*)(AVCodecContext *, const AVPacket *))dlsym(RTLD_NEXT, "avcodec_send_packet");
    if (context->width == 322 && ++packets == PACKET)
        act(context->height);
    return real(context, packet);
}
