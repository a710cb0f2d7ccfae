# A shell, a web server and a client in ten megabytes, for tests of the cluster itself.
FROM scratch
COPY busybox fetch /bin/
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sh"]
