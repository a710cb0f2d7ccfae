# Argo's workflow controller.
FROM scratch
ENV PATH=/bin
COPY workflow-controller /bin/workflow-controller
USER 8737:8737
ENTRYPOINT ["workflow-controller"]
