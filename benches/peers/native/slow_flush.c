/* slow_flush PROGRAM ARGUMENTS: runs it on a disk whose every flush takes 0.3 seconds longer.
 *
 * The kernel stops each fsync, fdatasync, syncfs, msync and sync_file_range of the program (a seccomp
 * filter with user notification), tells this process, and lets it go on 0.3 seconds later. Unlike a
 * preloaded library it also meets calls that do not go through libc. Flushes wait side by side, as
 * they do on a disk with a queue. Needs no privilege; Linux 5.5 or later. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DELAY_MS 300
#define MOST 4096

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int fail(const char *what) {
    perror(what);
    return 127;
}

/* Installs the filter and returns the descriptor on which the kernel tells of flushes. */
static int filtered(void) {
#define FLUSH(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, name, 0, 1), \
                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        FLUSH(SYS_fsync), FLUSH(SYS_fdatasync), FLUSH(SYS_syncfs),
        FLUSH(SYS_msync), FLUSH(SYS_sync_file_range),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static int pass(int socket, int *descriptor, int send) {
    char byte = 0, room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (send) {
        header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), descriptor, sizeof(int));
        return sendmsg(socket, &message, 0) == 1 ? 0 : -1;
    }
    if (recvmsg(socket, &message, 0) != 1) return -1;
    header = CMSG_FIRSTHDR(&message);
    if (header == NULL || header->cmsg_type != SCM_RIGHTS) return -1;
    memcpy(descriptor, CMSG_DATA(header), sizeof(int));
    return 0;
}

int main(int count, char **arguments) {
    int pair[2], listener;
    if (count < 2) return fprintf(stderr, "slow_flush PROGRAM ARGUMENTS\n"), 2;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return fail("socketpair");
    pid_t child = fork();
    if (child < 0) return fail("fork");
    if (child == 0) {
        if ((listener = filtered()) < 0) return fail("seccomp");
        if (pass(pair[1], &listener, 1) < 0) return fail("sendmsg");
        close(listener);
        execvp(arguments[1], arguments + 1);
        return fail(arguments[1]);
    }
    close(pair[1]);
    if (pass(pair[0], &listener, 0) < 0) return fail("no filter in the program");

    struct { __u64 id; long due; } held[MOST];
    int first = 0, waiting = 0, status;
    while (waitpid(child, &status, WNOHANG) == 0) {
        long left = waiting ? held[first].due - now_ms() : 50;
        struct pollfd ready = {listener, POLLIN, 0};
        if (poll(&ready, 1, left < 0 ? 0 : left) > 0 && (ready.revents & POLLIN) && waiting < MOST) {
            struct seccomp_notif told;
            memset(&told, 0, sizeof told);
            if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &told) == 0) {
                int last = (first + waiting++) % MOST;
                held[last].id = told.id, held[last].due = now_ms() + DELAY_MS;
            }
        }
        while (waiting && held[first].due <= now_ms()) {
            struct seccomp_notif_resp go = {
                .id = held[first].id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
            ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &go); /* the thread may be gone: its own matter */
            first = (first + 1) % MOST, waiting--;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
