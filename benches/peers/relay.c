/* The floor of the bench: a relay that parses nothing.
 *
 *   relay LISTEN_PORT UPSTREAM_PORT        (both on 127.0.0.1)
 *
 * One thread, one epoll. Every client connection gets one upstream connection that lives as long as it does; bytes
 * are copied both ways. A keepalive request costs read, write, read, write and its share of epoll_wait: what any
 * proxy on this kernel pays before it looks at a single byte. It is C because the crate forbids unsafe code.
 *
 * Edge-triggered and registered once, so there is no epoll_ctl on the path. A short read means "drained" (epoll(7)),
 * which saves the read that would only say EAGAIN.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct side {
    int fd;
    struct side *peer;
    char *pending; /* read from the peer, not yet taken by this socket */
    size_t off, len;
    int hup;  /* the other end sent its FIN (or worse): read on until it shows */
    int dead; /* closed; freed when the batch of events is done */
    struct side *next_dead;
};

static int epfd;
static struct side *graveyard;
static char buffer[64 * 1024];

static struct sockaddr_in loopback(const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void end(struct side *s) {
    struct side *both[2] = {s, s->peer};
    for (int i = 0; i < 2; i++) { /* both at once, so never twice: a dead side is not touched again */
        both[i]->dead = 1;
        close(both[i]->fd);
        both[i]->next_dead = graveyard;
        graveyard = both[i];
    }
}

static void keep(struct side *to, const char *bytes, size_t n) {
    if (!to->pending && !(to->pending = malloc(sizeof buffer))) die("malloc");
    memcpy(to->pending, bytes, n);
    to->off = 0;
    to->len = n;
}

/* Moves bytes away from `from` until it is drained or its peer's socket is full. */
static void pump(struct side *from) {
    struct side *to = from->peer;
    while (!from->dead && !to->len) {
        ssize_t n = read(from->fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) return end(from);
        ssize_t m = write(to->fd, buffer, (size_t)n);
        if (m < 0 && errno != EAGAIN) return end(from);
        if (m < 0) m = 0;
        if (m < n) return keep(to, buffer + m, (size_t)(n - m));
        if ((size_t)n < sizeof buffer && !from->hup) return;
    }
}

/* The socket takes bytes again. */
static void flush(struct side *s) {
    ssize_t m = write(s->fd, s->pending + s->off, s->len);
    if (m < 0 && errno != EAGAIN) return end(s);
    if (m < 0) return;
    s->off += (size_t)m;
    s->len -= (size_t)m;
    if (!s->len) pump(s->peer);
}

static struct side *side(int fd) {
    int on = 1;
    struct side *s = calloc(1, sizeof *s);
    if (!s) die("calloc");
    s->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return s;
}

static void watch(struct side *s) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, s->fd, &e)) die("epoll_ctl");
}

static void take_connections(int listener, struct sockaddr_in *upstream) {
    int client;
    while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int up = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* blocking connect: loopback answers at once */
        if (up < 0 || connect(up, (struct sockaddr *)upstream, sizeof *upstream)) die("connect");
        struct side *a = side(client), *b = side(up);
        a->peer = b;
        b->peer = a;
        if (fcntl(up, F_SETFL, O_NONBLOCK)) die("fcntl");
        watch(a);
        watch(b);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in here = loopback(argv[1]), upstream = loopback(argv[2]);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, SOMAXCONN)) die("listen");
    if ((epfd = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &e)) die("epoll_ctl");
    for (struct epoll_event events[512];;) {
        int n = epoll_wait(epfd, events, 512, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct side *s = events[i].data.ptr;
            unsigned what = events[i].events;
            if (!s) take_connections(listener, &upstream);
            if (!s || s->dead) continue;
            if (what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) s->hup = 1;
            if (s->len && what & (EPOLLOUT | EPOLLHUP | EPOLLERR)) flush(s);
            if (!s->dead && what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) pump(s);
        }
        for (struct side *s; (s = graveyard);) {
            graveyard = s->next_dead;
            free(s->pending);
            free(s);
        }
    }
}
