# A shell, a web server and a client in two megabytes, for tests of the cluster itself.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sh"]
