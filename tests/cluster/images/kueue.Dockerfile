# Kueue's manager, laid out as its chart expects it.
FROM scratch
COPY manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
