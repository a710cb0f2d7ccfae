# The stock scheduler, for a second one that runs as a pod.
FROM scratch
COPY kubernetes /usr/local/bin/kube-scheduler
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/kube-scheduler"]
