# Argo's executor: copied into the pods of a workflow, where it is looked for on PATH.
FROM scratch
ENV PATH=/bin
COPY argoexec /bin/argoexec
ENTRYPOINT ["argoexec"]
